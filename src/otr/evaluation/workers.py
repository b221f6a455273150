"""Processes that compare mathematical answers, each comparison within limits of its own."""

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from typing import Any

from otr.errors import UserError
from otr.extras import install_words

LIMIT_SECONDS = 5
"""Seconds on a processor that one comparison may take; an end by the clock comes ten times later."""

_START_SECONDS = 120
_CLOCK_FACTOR = 10

TIMED_OUT = "timed out"
CRASHED = "comparison crashed"


class Worker:
    """A process that compares answers. One that takes too long is ended, and begun anew for the
    next comparison.

    The process is a program of its own, not a copy of this one: it loads no torch, and does not
    run the caller's script again as `multiprocessing` would.
    """

    def __init__(self, limit_seconds: int = LIMIT_SECONDS) -> None:
        self._limit_seconds = limit_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._is_warm = False

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The verdict on a question of `otr.evaluation.symbolic`: `correct` and `problem`."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            wait_seconds = self._limit_seconds * _CLOCK_FACTOR
            ready, _, _ = select.select(
                [process.stdout], [], [], wait_seconds + (0 if self._is_warm else _START_SECONDS)
            )
            line = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if line:
            self._is_warm = True
            return json.loads(line)
        self.close()
        # Ended by the kernel for its seconds on a processor, or just now by us for the clock's.
        ended_by_time = process.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
        return {"correct": False, "problem": TIMED_OUT if ended_by_time else CRASHED}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "otr.evaluation.symbolic", str(self._limit_seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
            self._is_warm = False
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        # A process that has just ended by itself keeps the reason it ended for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def compare_all(
    questions: Sequence[dict[str, Any]],
    *,
    num_workers: int | None = None,
    limit_seconds: int = LIMIT_SECONDS,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """The verdicts on questions, in their order; `progress` is told how many are done.

    Raises: UserError if math-verify is not installed.
    """
    require_math_verify()
    count = min(num_workers or num_processors(), len(questions))
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    workers = [Worker(limit_seconds) for _ in range(count)]
    for worker in workers:
        idle.put(worker)

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        worker = idle.get()
        try:
            return worker.ask(question)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(max(count, 1)) as threads:
            futures = [threads.submit(ask, question) for question in questions]
            try:
                for done, _ in enumerate(as_completed(futures), start=1):
                    if progress is not None:
                        progress(done)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.close()
                raise
            return [future.result() for future in futures]
    finally:
        for worker in workers:
            worker.close()


_single = threading.local()


def compare_one(question: dict[str, Any]) -> dict[str, Any]:
    """The verdict on one question, by a process that is kept for the next.

    Raises: UserError if math-verify is not installed.
    """
    require_math_verify()
    # A fork has a worker of its own: two that ask one process would read each other's verdicts.
    if getattr(_single, "asker", None) != os.getpid():
        _single.worker, _single.asker = Worker(), os.getpid()
        atexit.register(_single.worker.close)
    return _single.worker.ask(question)


def require_math_verify() -> None:
    """Raises: UserError if math-verify is not installed."""
    if find_spec("math_verify") is None:
        raise UserError(
            "grading mathematics needs math-verify, which is not installed; "
            f"`{install_words('eval')}` brings it"
        )


def num_processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
