"""The program's own process: everything is taken from it, then a stranger's code is run."""

import os
import sys

from . import landlock, rights, system_calls
from .kernel import (
    LINUX,
    MACHINE,
    die_with_parent,
    drop_bounding_capabilities,
    drop_capabilities,
    forbid_new_privileges,
    hide_memory,
)
from .namespaces import DEVICES

LONGEST_MESSAGE = 300


def confine(job: dict, to_launcher: int, verdict: int) -> None:
    """Everything that is taken from the program before its first line."""
    keeper = os.getppid()
    _close_all_but(1, 2, to_launcher, verdict)
    os.open("/dev/null", os.O_RDONLY)
    os.chdir(job["folder"])
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(
        HOME=job["folder"],
        TMPDIR=job["folder"],
        PATH="/usr/bin:/bin",
        LANG="C.UTF-8",
        # Threads count as processes, and an answer has one core.
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
    )
    limits = dict(job["limits"])
    if job["namespaces"] and job["own_user"]:
        limits["num_processes"] += 2  # the launcher and the keeper count there
    if LINUX:
        drop_bounding_capabilities()
    if job["user"] is not None:
        rights.become(job["user"])
    if os.geteuid() == 0:
        raise PermissionError("the program would run as root")
    rights.limit_resources(limits)
    if LINUX:
        drop_capabilities()
        forbid_new_privileges()
        die_with_parent(keeper)
        hide_memory()
    if "landlock" in job["guards"]:
        landlock.allow_only(job["readable"], [job["folder"], *DEVICES])
    if "system calls" in job["guards"]:
        system_calls.deny_system_calls(MACHINE)
    sys.path.extend(job["packages"])
    sys.dont_write_bytecode = True


def _close_all_but(*kept: int) -> None:
    start = 0
    for number in sorted(kept):
        os.closerange(start, number)
        start = number + 1
    # The launcher was started with no others than these, and opened few.
    os.closerange(start, start + 256)


def run(program: str, tests: str, token: str, verdict: int) -> None:
    """Run the program and then its tests in one module, and say how it went.

    The module is not called `__main__`: what an answer does only then, as reading input, is no
    part of it; the benchmarks' own graders see it so.
    What is used after the program has begun was bound before, where the program's names cannot
    reach it.
    """
    write, leave_now, execute = os.write, os._exit, exec
    anything, kind, say = BaseException, type, str
    module = type(sys)("answer")
    names = module.__dict__
    sys.modules["answer"] = module
    try:
        parts = [
            compile(text, f"<{part}>", "exec", dont_inherit=True)
            for part, text in (("answer", program), ("tests", tests))
        ]
        for part in parts:
            execute(part, names)
        words = f"{token} finished"
    except anything as error:
        try:
            words = f"raised {kind(error).__name__}: {say(error)}"[:LONGEST_MESSAGE]
        except anything:
            words = "raised"
    write(verdict, words.encode("utf-8", "replace"))
    try:
        sys.stdout.flush()
    finally:
        leave_now(0)
