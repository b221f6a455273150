"""The launcher: reads a job, puts up the guards, runs the program, leaves nothing behind.

Three processes. The launcher keeps time, and its end of a pipe tells it when otr is gone. The
keeper below it is the first process of the new namespaces and waits. Only the third, the
program's, runs a stranger's code; it is a fork, so Python starts once. Little is imported, and
messages are marshalled, because json, typing and their like double the time to start.
"""

import marshal
import os
import select
import time

from . import landlock, rights, system_calls
from .kernel import (
    LINUX,
    MACHINE,
    adopt_orphans,
    die_with_parent,
    drop_capabilities,
    forbid_new_privileges,
    hide_memory,
    show_memory,
)
from .namespaces import SCRATCH, enter_own_files, leave
from .program import LONGEST_MESSAGE, confine, run
from .scratch import holds_too_much, remove

_MOST_SECONDS_TO_CLEAN = 30.0
_SECONDS_BETWEEN_LOOKS = 0.1
_KILL = 9


def main(report: int, verdict: int) -> None:
    """Run the job that standard input holds; write what happened to `report`, marshalled.

    `verdict` gets the job's token and `finished` if the program and its tests ran to their end.
    """
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads a session already
    folder = None
    try:
        job = _read_job()
        folder = job["folder"]
        outcome = _run(job, report, verdict)
    except Exception as error:
        outcome = {"error": _words(error)}
    # Told before the folder is removed: on a slow disk a thousand folders take their time.
    try:
        os.write(report, marshal.dumps(outcome))
    except BrokenPipeError:
        pass  # otr has ended
    if folder is not None:
        try:
            remove(folder)
        except OSError:
            pass  # otr tries again, and says what is in the way


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
    outcome = _watch(keeper, news, job)
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


def _watch(keeper: int, news: int, job: dict) -> dict:
    """Wait for the keeper's word, for the end of the time, or for the end of otr.

    Without namespaces the folder is on a disk, whose files are counted meanwhile.
    """
    limits = job["limits"]
    until = time.monotonic() + limits["wall_seconds"]
    poll = select.poll()
    poll.register(news, select.POLLIN)
    poll.register(0, 0)
    ready = {}
    while not ready and (left := until - time.monotonic()) > 0:
        if not job["namespaces"]:
            left = min(left, _SECONDS_BETWEEN_LOOKS)
            if holds_too_much(job["folder"], limits["scratch_mb"], limits["num_files"]):
                return {"stopped": "files"}
        ready = dict(poll.poll(left * 1000))
    if news not in ready:
        return {"stopped": "otr ended" if ready else "wall time"}
    # One message, short enough to come whole.
    message = os.read(news, 4096)
    return marshal.loads(message) if message else {"error": "the keeper ended without a word"}


def _clean_up(keeper: int) -> None:
    """Kill what is left. In namespaces it is gone with the keeper; elsewhere with its group.

    The kernel kills a group at one stroke, so that a program that forks and ends, over and over,
    does not outrun it; the filter keeps it from leaving. Where there is no filter, it is hunted.
    """
    until = time.monotonic() + _MOST_SECONDS_TO_CLEAN
    for kill in (os.killpg, os.kill):
        try:
            kill(keeper, _KILL)
        except (ProcessLookupError, PermissionError):
            pass  # it has no group yet; or, elsewhere than on Linux, nobody in it is alive
    while time.monotonic() < until:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for child in _children() if LINUX else ():
            os.kill(child, _KILL)
        time.sleep(0.002)
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
    return f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]


def _tell(to_launcher: int, news: dict) -> None:
    os.write(to_launcher, marshal.dumps(news))


def _keep(job: dict, launcher: int, to_launcher: int, verdict: int) -> None:
    """The first process of the namespaces: dress them, start the program, wait for it."""
    # In a namespace of processes the parent is not to be seen, and has the number 0.
    die_with_parent(0 if job["namespaces"] else launcher)
    # The program is born into this group and may not leave it.
    os.setsid()
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
        confine(job, to_launcher, verdict)
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
