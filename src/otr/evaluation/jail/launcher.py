"""The launcher: reads a job, puts up the guards, runs the program, leaves nothing behind.

Three processes. The launcher keeps time, and its end of a pipe tells it when otr is gone. The
keeper below it is the first process of the new namespaces and waits. Only the third, the
program's, runs a stranger's code; it is a fork, so Python starts once. Little is imported, and
messages are marshalled, because json, typing and their like double the time to start.
"""

import marshal
import os
import select
import sys
import time

from . import landlock, rights, system_calls
from .kernel import (
    LINUX,
    MACHINE,
    adopt_orphans,
    die_with_parent,
    drop_bounding_capabilities,
    drop_capabilities,
    forbid_new_privileges,
    hide_memory,
    show_memory,
)
from .namespaces import DEVICES, SCRATCH, enter_own_files, leave

_MOST_SECONDS_TO_CLEAN = 5.0
_LONGEST_MESSAGE = 300
_KILL = 9


def main(report: int, verdict: int) -> None:
    """Run the job that standard input holds; write what happened to `report`, marshalled.

    `verdict` gets the job's token and `finished` if the program and its tests ran to their end.
    """
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads a session already
    try:
        outcome = _run(_read_job(), report, verdict)
    except Exception as error:
        outcome = {"error": _words(error)}
    os.write(report, marshal.dumps(outcome))


def held(*, namespaces: bool) -> list[str]:
    """The guards, besides limits, that this system offers. Namespaces show only when entered."""
    guards = ["namespaces"] if namespaces else []
    if LINUX and system_calls.is_known(MACHINE):
        guards.append("system calls")
    if LINUX and landlock.version() > 0:
        guards.append("landlock")
    return guards


def _read_job() -> dict:
    length = int.from_bytes(_read(8), "big")
    return marshal.loads(_read(length))


def _read(num_bytes: int) -> bytes:
    parts = []
    while num_bytes:
        part = os.read(0, min(num_bytes, 1 << 20))
        if not part:
            raise EOFError("the job is cut short")
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def _run(job: dict, report: int, verdict: int) -> dict:
    if LINUX:
        adopt_orphans()
    namespaces = job["namespaces"]
    job["guards"] = held(namespaces=namespaces) if job["guards"] is None else job["guards"]
    job["user"] = rights.unused_user() if os.geteuid() == 0 else None
    if namespaces:
        job["own_user"] = _leave(job)
    if LINUX:
        hide_memory()
    news, to_launcher = os.pipe()
    launcher = os.getpid()

    def keep() -> None:
        os.close(news)
        os.close(report)
        _keep(job, launcher, to_launcher, verdict)

    keeper = _fork(keep, to_launcher)
    os.close(to_launcher)
    os.close(verdict)
    outcome = _watch(keeper, news, job["limits"]["wall_seconds"])
    _clean_up(keeper)
    return {"guards": job["guards"], **outcome}


def _leave(job: dict) -> bool:
    """Enter namespaces: as root with its own rights, otherwise through a user namespace."""
    if job["user"] is None:
        leave(own_user=True)
        return True
    try:
        leave(own_user=False)
        return False
    except OSError:
        # Root in a container has not the right; a plain user may have it.
        os.chown(job["folder"], job["user"], job["user"])
        rights.become(job["user"])
        job["user"] = None
        # A process that is hidden may not write its own map of users.
        show_memory()
        leave(own_user=True)
        return True


def _watch(keeper: int, news: int, seconds: float) -> dict:
    """Wait for the keeper's word, for the end of the time, or for the end of otr."""
    poll = select.poll()
    poll.register(news, select.POLLIN)
    poll.register(0, 0)
    ready = dict(poll.poll(seconds * 1000))
    if news not in ready:
        os.kill(keeper, _KILL)
        return {"stopped": "otr ended" if ready else "wall time"}
    # One message, short enough to come whole.
    message = os.read(news, 4096)
    return marshal.loads(message) if message else {"error": "the keeper ended without a word"}


def _clean_up(keeper: int) -> None:
    """Kill what is left. In namespaces it is gone with the keeper; elsewhere it is looked for."""
    until = time.monotonic() + _MOST_SECONDS_TO_CLEAN
    os.kill(keeper, _KILL)
    while time.monotonic() < until:
        for child in _children() if LINUX else ():
            os.kill(child, _KILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return
    raise TimeoutError("processes of the program are still alive")


def _children() -> list[int]:
    """Children of this process; orphans among its descendants become children."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stream:
                parent = stream.read().rpartition(b")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.append(int(name))
    return found


def _fork(part, to_launcher: int) -> int:
    """Fork a process that does its part and never returns; it tells what went wrong in it."""
    leave_now = os._exit
    number = os.fork()
    if number:
        return number
    try:
        part()
    except BaseException as error:
        _tell(to_launcher, {"error": _words(error)})
    finally:
        leave_now(0)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]


def _tell(to_launcher: int, news: dict) -> None:
    os.write(to_launcher, marshal.dumps(news))


def _keep(job: dict, launcher: int, to_launcher: int, verdict: int) -> None:
    """The first process of the namespaces: dress them, start the program, wait for it."""
    # In a namespace of processes the parent is not to be seen, and has the number 0.
    die_with_parent(0 if job["namespaces"] else launcher)
    limits = job["limits"]
    if job["namespaces"]:
        enter_own_files(
            job["folder"],
            job["readable"],
            scratch_mb=limits["scratch_mb"],
            num_entries=limits["num_files"],
            machine=MACHINE,
        )
        job["folder"], job["readable"] = SCRATCH, ["/"]
    if job["user"] is not None:
        os.chown(job["folder"], job["user"], job["user"])

    def start() -> None:
        _confine(job, to_launcher, verdict)
        os.close(to_launcher)
        run(job["program"], job["tests"], job["token"], verdict)

    program = _fork(start, to_launcher)
    os.close(verdict)
    if LINUX:
        forbid_new_privileges()
        drop_capabilities()
    while True:
        ended, status, usage = os.wait4(-1, 0)
        if ended == program:
            break
    _tell(to_launcher, {"status": status, "cpu_seconds": usage.ru_utime + usage.ru_stime})


def _confine(job: dict, to_launcher: int, verdict: int) -> None:
    """Everything that is taken from the program before its first line."""
    keeper = os.getppid()
    os.setsid()
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
            words = f"raised {kind(error).__name__}: {say(error)}"[:_LONGEST_MESSAGE]
        except anything:
            words = "raised"
    write(verdict, words.encode("utf-8", "replace"))
    try:
        sys.stdout.flush()
    finally:
        leave_now(0)
