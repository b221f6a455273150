"""Python programs from strangers, run where they can harm nothing. See docs/sandbox.md."""

import functools
import os
import secrets
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Literal

from otr.errors import UserError
from otr.evaluation.launch import Ending, launch
from otr.evaluation.python_library import python_library
from otr.evaluation.workers import num_processors

Reason = Literal[
    "finished", "raised", "memory", "exited", "crashed", "killed", "cpu time", "wall time"
]
"""How a program ended: it and its tests ran to their end; an exception; MemoryError; it left by
itself before; a fault such as SIGSEGV; SIGKILL from outside, as for want of memory; a limit."""


class SandboxError(RuntimeError):
    """The sandbox itself failed; says nothing of the program."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use. Each process that it starts has the same limits anew."""

    cpu_seconds: int = 10
    wall_seconds: float = 20.0
    """For the program and everything it started, together."""

    memory_mb: int = 2048
    """Addresses, not pages in use."""

    file_mb: int = 16
    """The largest file."""

    scratch_mb: int = 64
    """All files together; kept in memory where the sandbox has namespaces."""

    num_files: int = 1000
    """Files and folders together. Without namespaces, this and the size are looked at ten times a
    second, and a program that has more is killed."""

    num_open_files: int = 64
    num_processes: int = 8
    """Threads count."""

    output_kb: int = 64
    """Of standard output and of standard error, what is kept; the rest is read and dropped."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a program ended."""

    reason: Reason
    detail: str
    """The exception, the exit status or the signal, in words."""

    stdout: str
    stderr: str
    output_cut: bool
    """Whether more was written than is kept."""

    cpu_seconds: float
    wall_seconds: float

    @property
    def finished(self) -> bool:
        """The program and then its tests ran to their last line."""
        return self.reason == "finished"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program, and the tests that are run after it with its names."""

    text: str
    tests: str = ""


@dataclass(frozen=True, kw_only=True)
class Protections:
    """What holds on this machine, besides limits, a user without rights and a clean environment."""

    namespaces: bool
    """Own processes, network, IPC and files; files in memory only."""

    system_calls: bool
    """A filter against sockets, signals, tracing and mounts."""

    landlock: bool
    """The kernel refuses files outside the sandbox, whoever owns them."""

    why_no_namespaces: str = ""

    def missing(self) -> list[str]:
        """What is not guarded here, a sentence each; nothing where all holds."""
        gaps = []
        if not self.namespaces:
            gaps.append(
                f"no namespaces ({self.why_no_namespaces}): for a moment files may take more room "
                "than they should, and names of files outside can be told"
            )
            if not self.system_calls:
                gaps.append(
                    "no filter of system calls: the network can be reached, and other processes "
                    "of the same user can be signalled"
                )
            if not self.landlock:
                gaps.append(
                    "no Landlock: files that this user may read or write are open to the program"
                )
        return gaps


def run_python(
    program: str | Program, *, limits: Limits = Limits(), guards: Protections | None = None
) -> Outcome:
    """Run a program apart from everything, and clean up behind it.

    It has an empty folder, no network, no input, none of this process's environment, files or
    rights; the standard library and installed packages can be read. `finished` is said only by
    a random token that the launcher hands on after the last line has run, so that leaving early
    or printing cannot give it.

    guards: what must hold; by default all that this machine has.
    Raises: SandboxError if a guard cannot be put up; then nothing has run. UserError where the
    least cannot be had.
    """
    if isinstance(program, str):
        program = Program(text=program)
    guards = guards or protections()
    token = secrets.token_hex(16)
    names = {"system calls": guards.system_calls, "landlock": guards.landlock}
    job = _job(program, limits, namespaces=guards.namespaces)
    job |= {"token": token, "guards": [name for name, holds in names.items() if holds]}
    return _outcome(launch(job), token, limits)


def run_all(
    programs: Sequence[str | Program],
    *,
    num_workers: int | None = None,
    limits: Limits = Limits(),
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """`run_python` for each, several at a time; outcomes in the order of the programs.

    num_workers: by default, as many as this process has processors.
    progress: called after each, with the number done and the number of all.
    """
    if not programs:
        return []
    guards = protections()
    num_workers = num_workers or num_processors()
    pool = ThreadPoolExecutor(min(num_workers, len(programs)))
    try:
        runs = [pool.submit(run_python, each, limits=limits, guards=guards) for each in programs]
        for num_done, run in enumerate(as_completed(runs), start=1):
            run.result()  # a sandbox that fails ends the rest
            if progress is not None:
                progress(num_done, len(runs))
        return [run.result() for run in runs]
    finally:
        pool.shutdown(cancel_futures=True)


@functools.cache
def protections(*, namespaces: bool = True) -> Protections:
    """Try what this machine offers, with a program that does nothing.

    namespaces: False leaves them out where they could be had.
    Raises: UserError where not even limits and a user without rights can be had. SandboxError
    where the machine is too busy to tell.
    """
    if os.name != "posix":
        raise UserError("--run-code: needs Linux or macOS; this system cannot confine a program")
    why = "left out"
    for attempt in (True, False) if namespaces else (False,):
        probe = Program(text="import random, decimal, collections")
        job = _job(probe, Limits(), namespaces=attempt) | {"token": "ready", "guards": None}
        ending = launch(job)
        if "stopped" in ending.report:
            raise SandboxError("a program that does nothing took too long; the machine is too busy")
        problem = ending.report.get("error")
        if problem is None and ending.verdict == "ready finished":
            held = ending.report["guards"]
            return Protections(
                namespaces=attempt,
                system_calls="system calls" in held,
                landlock="landlock" in held,
                why_no_namespaces="" if attempt else why,
            )
        why = str(problem or ending.verdict)
    raise UserError(
        f"--run-code: no program can be confined here ({why}); run as a user without rights, with "
        "a Python that this user can read"
    )


def _job(program: Program, limits: Limits, *, namespaces: bool) -> dict:
    library = python_library(namespaces=namespaces)
    return {
        "program": program.text,
        "tests": program.tests,
        "limits": asdict(limits),
        "namespaces": namespaces,
        "home": library.home,
        "packages": library.packages,
        "readable": library.readable,
    }


def _outcome(ending: Ending, token: str, limits: Limits) -> Outcome:
    report = ending.report
    if "error" in report:
        raise SandboxError(f"the sandbox could not be put up: {report['error']}")
    reason, detail = _reason(report, ending.verdict, token, limits)
    return Outcome(
        reason=reason,
        detail=detail,
        stdout=ending.stdout,
        stderr=ending.stderr,
        output_cut=ending.output_cut,
        cpu_seconds=report.get("cpu_seconds", 0.0),
        wall_seconds=ending.wall_seconds,
    )


def _reason(report: dict, verdict: str, token: str, limits: Limits) -> tuple[Reason, str]:
    if report.get("stopped") == "files":
        return "killed", f"more than {limits.scratch_mb} MB or {limits.num_files} files"
    if "stopped" in report:
        return "wall time", f"more than {limits.wall_seconds:g} s"
    status = report["status"]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = _signal_name(number)
        spent = report["cpu_seconds"] >= limits.cpu_seconds
        if number == signal.SIGXCPU or (number == signal.SIGKILL and spent):
            return "cpu time", f"more than {limits.cpu_seconds} s"
        return ("killed" if number == signal.SIGKILL else "crashed"), name
    exit_status = os.WEXITSTATUS(status)
    if exit_status == 0 and verdict == f"{token} finished":
        return "finished", ""
    if verdict.startswith("raised ") and not verdict.startswith("raised SystemExit"):
        what = verdict.removeprefix("raised ")
        return ("memory" if what.startswith("MemoryError") else "raised"), what
    return "exited", verdict.removeprefix("raised ") or f"status {exit_status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # those for real time have none
