"""Programs in processes of their own, forked from one that has loaded the libraries: a fresh Python
would spend most of its time on loading them."""

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from otr.commands.group import leave

_PRELOADED = ["otr.training.pipeline", "otr.evaluation.pipeline"]
_MOST_SECONDS = 400.0
_GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


def forks() -> Any:
    """The multiprocessing context of these processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def together(num_processes: int, module: str, *words: str, **variables: str) -> list[Ended]:
    """Run a module as a program in several processes that find each other, as torchrun's do, with
    these environment variables.

    If one fails, the others have a minute for their own end, and are killed then.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for each in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            variables[each] = str(num_processes)
        processes = [
            forks().Process(target=_run, args=(folder, rank, variables, module, words))
            for rank in range(num_processes)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + _MOST_SECONDS
        while alive := [process for process in processes if process.is_alive()]:
            if any(process.exitcode for process in processes):
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            if not wait([p.sentinel for p in alive], timeout=deadline - time.monotonic()):
                break
        for process in processes:
            process.kill()
            process.join()
        return [
            Ended(process.exitcode, *(_printed(folder, rank, stream) for stream in (1, 2)))
            for rank, process in enumerate(processes)
        ]


def launch(num_processes: int, module: str, *words: str, **variables: str) -> None:
    """The same for programs that must end well."""
    ended = together(num_processes, module, *words, **variables)
    said = "\n".join(each.stderr[-6000:] for each in ended if each.status != 0)
    assert [each.status for each in ended] == [0] * num_processes, said


def _printed(folder: Path, rank: int, stream: int) -> str:
    return (folder / f"{rank}-{stream}").read_text(errors="replace")


def _run(
    folder: Path, rank: int, variables: dict[str, str], module: str, words: tuple[str, ...]
) -> None:
    for stream in (1, 2):
        os.dup2(os.open(folder / f"{rank}-{stream}", os.O_WRONLY | os.O_CREAT), stream)
    os.environ |= variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    sys.argv = [module, *words]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    if status == 0:
        leave()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own end, about which one of two processes has been aborted.
    os._exit(status)
