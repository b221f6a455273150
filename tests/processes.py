"""Programs in processes of their own, forked from one that has loaded the libraries: a fresh Python
would spend most of its time on loading them."""

import atexit
import gc
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


class Program:
    """A module that runs as a program, in this folder."""

    def __init__(self, folder: Path, module: str, *words: str, **variables: str) -> None:
        self._folder = folder
        here = os.getcwd()
        self.process = forks().Process(target=_run, args=(folder, here, module, words, variables))
        self.process.start()

    def ended(self, seconds: float = _MOST_SECONDS) -> Ended:
        """What came of it, once it has ended or has had so many seconds, after which it is killed."""
        self.process.join(seconds)
        self.process.kill()
        self.process.join()
        printed = ((self._folder / name).read_text(errors="replace") for name in ("1", "2"))
        return Ended(self.process.exitcode, *printed)


@contextmanager
def running(module: str, *words: str, **variables: str) -> Iterator[Program]:
    """A program with these environment variables; killed in the end if it still runs."""
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder), module, *words, **variables)
        try:
            yield program
        finally:
            program.process.kill()
            program.process.join()


def together(num_processes: int, module: str, *words: str, **variables: str) -> list[Ended]:
    """Run a module as a program in several processes that find each other, as torchrun's do.

    If one fails, the others have a minute for their own end, and are killed then.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for each in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        variables[each] = str(num_processes)
    with ExitStack() as stack:
        programs = []
        for rank in map(str, range(num_processes)):
            own = variables | {"RANK": rank, "LOCAL_RANK": rank}
            programs.append(stack.enter_context(running(module, *words, **own)))
        processes = [program.process for program in programs]
        deadline = time.monotonic() + _MOST_SECONDS
        while alive := [process for process in processes if process.is_alive()]:
            if any(process.exitcode for process in processes):
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            if not wait([each.sentinel for each in alive], timeout=deadline - time.monotonic()):
                break
        return [program.ended(0) for program in programs]


def launch(num_processes: int, module: str, *words: str, **variables: str) -> None:
    """The same for programs that must end well."""
    ended = together(num_processes, module, *words, **variables)
    said = "\n".join(each.stderr[-6000:] for each in ended if each.status != 0)
    assert [each.status for each in ended] == [0] * num_processes, said


def _run(
    folder: Path, here: str, module: str, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    for stream in (1, 2):
        os.dup2(os.open(folder / str(stream), os.O_WRONLY | os.O_CREAT), stream)
    gc.freeze()
    os.chdir(here)
    os.environ |= variables
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
