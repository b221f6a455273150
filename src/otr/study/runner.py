"""Doing jobs: each in a process of its own, several at once; finished ones are left alone.

A process of its own keeps runs apart: one that runs out of memory or crashes is reported as failed
and takes no other with it, and its peak memory is its own.
"""

import gc
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from otr import runs
from otr.errors import UserError
from otr.evaluation.workers import num_processors
from otr.redaction import redacted
from otr.signals import EXIT_STOPPED, Stopped, noted_signals
from otr.study.plan import Job, Rewarded
from otr.training.config import Run

_POLL_SECONDS = 1.0
_GRACE_SECONDS = 30.0
_LAST_LINE_BYTES = 4096
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of which one is there where a GPU may be: NVIDIA's, AMD's, and that of Linux within Windows."""


@dataclass
class Progress:
    """How far the jobs are; changed as they go on."""

    num_all: int
    """Jobs that were not finished at the start."""
    finished: list[Job] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)

    @property
    def num_done(self) -> int:
        """Jobs that have ended, well or not."""
        return len(self.finished) + len(self.failed)


def load_ahead(num_processes: int | None) -> None:
    """Begin to load what jobs need, beside what the caller still does; `run_jobs` does it otherwise.

    Where there may be a GPU this does nothing, since jobs are not forked there.
    """
    if _has_forks() and not any(map(os.path.exists, _GPU_DRIVERS)):
        with _threads_each(num_processes or num_processors()):
            _fork_server()


def run_jobs(
    jobs: Sequence[Job], *, num_processes: int, show: Callable[[Progress], None]
) -> Progress:
    """Do what is not finished yet, `num_processes` at once; a failed job leaves failed.json.

    `show` is called about once a second, and whenever a job begins or ends.

    Raises: Stopped on SIGINT or SIGTERM, once the processes have ended.
    """
    waiting = [job for job in jobs if not job.is_finished]
    progress = Progress(len(waiting))
    show(progress)
    devices = _devices()
    active: dict[Any, tuple[BaseProcess, Job, int]] = {}
    slots = list(range(num_processes))
    num_workers = max(1, num_processors() // num_processes)
    with noted_signals() as stop, _threads_each(num_processes) as num_threads:
        context = _context()
        try:
            while waiting or active:
                if stop.is_set():
                    raise Stopped(
                        "stopped; what had finished is kept, and the same command goes on"
                    )
                while slots and (ready := _ready(waiting, progress.running)):
                    job, slot = ready[0], slots.pop(0)
                    waiting.remove(job)
                    device = devices[slot % len(devices)] if devices else ""
                    process = context.Process(
                        target=_process, args=(job, device, num_workers, num_threads, os.getcwd())
                    )
                    process.start()
                    active[process.sentinel] = (process, job, slot)
                    progress.running.append(job)
                    show(progress)
                ended = wait(list(active), timeout=_POLL_SECONDS)
                # A signal to the whole group ends the processes too, which is no failure of theirs.
                for sentinel in () if stop.is_set() else ended:
                    process, job, slot = active.pop(sentinel)
                    process.join()
                    _redact(_log(job))
                    slots.append(slot)
                    progress.running.remove(job)
                    (progress.finished if _ended_well(process, job) else progress.failed).append(
                        job
                    )
                show(progress)
        finally:
            _end([process for process, _, _ in active.values()])
            for _, job, _ in active.values():
                _redact(_log(job))
    return progress


def default_num_processes() -> int:
    """One a GPU; without GPUs one a core that this process may use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else num_processors()


def last_row(job: Job) -> dict[str, Any]:
    """The last line of a run's metrics; empty before the first."""
    try:
        with open(job.folder / runs.METRICS, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_LINE_BYTES))
            row = json.loads(file.read().splitlines()[-1])
    except (OSError, IndexError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}


def _ready(waiting: Sequence[Job], running: Sequence[Job]) -> list[Job]:
    """The waiting jobs that need nothing of those that have yet to end."""
    unended = {job.folder for job in (*waiting, *running)}
    return [
        job
        for job in waiting
        if job.rewarded is None or unended.isdisjoint(job.rewarded.seconds_of)
    ]


def _context() -> Any:
    """Processes forked from one that has loaded the libraries and nothing else, which saves their
    loading; where there are GPUs, which do not survive a fork, or no forks, fresh ones."""
    import torch

    if not _has_forks() or torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    return _fork_server()


def _has_forks() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _fork_server() -> Any:
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["otr.training.pipeline", "otr.evaluation.pipeline"])
    if threading.current_thread() is threading.main_thread():
        # A signal to the whole group leaves the server be: it ends with this process, in order.
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            ensure_running()
        finally:
            signal.signal(signal.SIGTERM, before)
    return context


def _devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them: numbers, or names of
    GPUs and of parts of one; none where all are hidden."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(number) for number in range(torch.cuda.device_count())]
    return [device for each in given.split(",") if (device := each.strip())]


def _ended_well(process: BaseProcess, job: Job) -> bool:
    """Whether a process that has ended has done its job; if not, failed.json says why."""
    if process.exitcode == 0 and job.is_finished:
        return True
    if not (job.folder / runs.FAILED).is_file():
        code = process.exitcode or 0
        reason = f"its process ended with status {code}"
        if code < 0:
            reason = f"its process was killed by {signal.Signals(-code).name}"
            reason += ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        job.folder.mkdir(parents=True, exist_ok=True)
        runs.write_json(job.folder / runs.FAILED, {"error": reason})
    return False


@contextmanager
def _threads_each(num_processes: int) -> Iterator[int | None]:
    """Cores shared out between the processes: how many threads each may have, None where the user has
    said so. The libraries that fresh processes load read it from their environment."""
    if "OMP_NUM_THREADS" in os.environ:
        yield None
        return
    num_threads = max(1, num_processors() // num_processes)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    try:
        yield num_threads
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _end(processes: list[BaseProcess]) -> None:
    """End processes that are still at work."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _process(job: Job, device: str, num_workers: int, num_threads: int | None, folder: str) -> None:
    """What a job's process does, on one GPU of `_devices` or on none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An orderly end, which gives back semaphores and temporary files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_STOPPED))
    _end_with_parent()
    # The libraries stay for good, so the garbage collections of a run need not go through them.
    gc.freeze()
    os.chdir(folder)
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    if num_threads is not None:
        import torch

        # A forked process has the libraries loaded, and reads no environment any more.
        torch.set_num_threads(num_threads)
    failed = job.folder / runs.FAILED
    failed.unlink(missing_ok=True)
    log = _log(job)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            do(job, num_workers=num_workers)
        except Stopped:
            sys.exit(EXIT_STOPPED)
        except Exception as error:
            traceback.print_exc()
            job.folder.mkdir(parents=True, exist_ok=True)
            message = (
                str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            runs.write_json(failed, {"error": redacted(message)})
            sys.exit(1)


def _log(job: Job) -> Path:
    """What the job's process printed."""
    return job.folder.parent / runs.LOGS / f"{job.name}.txt"


def _redact(log: Path) -> None:
    """Hide the secrets that other libraries may have printed."""
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
        if (safe := redacted(text)) != text:
            runs.write_text(log, safe)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended: a study that is
    started again must not find its old runs still writing."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do(job: Job, *, num_workers: int | None = None) -> None:
    """Train, unless that was done before, and score on what is missing; `num_workers` grade."""
    from otr.quiet import quiet_libraries

    quiet_libraries()
    from otr.evaluation.pipeline import evaluate

    if job.run is not None and not job.is_trained:
        if job.rewarded is None:
            from otr.training.pipeline import train

            train(job.run, progress=False)
        else:
            _train_by_rewards(job.run, job.rewarded)
    evaluate(
        job.model or str(job.folder),
        job.missing_benchmarks,
        limit=job.limit,
        output=job.folder,
        run_code=job.run_code,
        num_workers=num_workers,
        prompt=None if job.asked_like is None else _style_of(job.asked_like),
    )
    if job.run is not None and not job.keep_model:
        shutil.rmtree(job.folder / runs.MODEL)


def _style_of(run: Run) -> str:
    """How a run will be asked once it is trained, as far as its base model can be: conversations take
    a chat template."""
    from otr.pretrained import load_tokenizer
    from otr.rows import read_rows
    from otr.training.columns import columns

    rows = read_rows(run.data.train, limit=run.data.limit, **run.data.place)
    if columns(rows, run.data).kind != "messages":
        return "base"
    return "chat" if load_tokenizer(runs.model_folder(run.model)).chat_template else "base"


def _train_by_rewards(run: Run, rewarded: Rewarded) -> None:
    from otr.training.grpo import train_grpo

    if rewarded.seconds_of:
        run = run.model_copy(update={"max_seconds": rewarded.budget()})
    # What a stopped run has left is not gone on with.
    restart = (Path(run.output_dir) / runs.CONFIG).is_file()
    train_grpo(run, rewarded.verifier, restart=restart, progress=False)
