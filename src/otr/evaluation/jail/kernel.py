"""Calls to Linux that Python's library does not have."""

import ctypes
import os
import sys

LINUX = sys.platform == "linux"
MACHINE = os.uname().machine

_libc = ctypes.CDLL(None, use_errno=True)

_SET_PARENT_DEATH_SIGNAL = 1
_SET_DUMPABLE = 4
_DROP_BOUNDING_CAPABILITY = 24
_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVILEGES = 38
_CAPABILITY_VERSION_3 = 0x20080522


def checked(name: str, result: int) -> int:
    """The result of a call. Raises: OSError if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def call(name: str, *arguments: object) -> int:
    """A function of the C library by name. Raises: OSError."""
    return checked(name, getattr(_libc, name)(*arguments))


def system_call(name: str, number: int, *arguments: object) -> int:
    """A system call by number, for those the C library has no function for. Raises: OSError."""
    return checked(name, _libc.syscall(ctypes.c_long(number), *arguments))


def control(name: str, option: int, *arguments: object) -> None:
    """prctl, with the unused arguments zero as it demands. Raises: OSError."""
    words = [*arguments, *([ctypes.c_ulong(0)] * (4 - len(arguments)))]
    checked(name, _libc.prctl(ctypes.c_int(option), *words))


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent ends; `parent` may have ended already.

    A change of user undoes it.
    """
    if not LINUX:
        return
    control("parent death signal", _SET_PARENT_DEATH_SIGNAL, ctypes.c_ulong(9))
    if parent and os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    control("child subreaper", _SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def hide_memory() -> None:
    """Keep other processes of the same user from reading or tracing this one."""
    control("not dumpable", _SET_DUMPABLE, ctypes.c_ulong(0))


def show_memory() -> None:
    """Undo `hide_memory`, and what a change of user does of itself."""
    control("dumpable", _SET_DUMPABLE, ctypes.c_ulong(1))


def forbid_new_privileges() -> None:
    """No program that is run from here on gains rights by set-user-id bits or capabilities."""
    control("no new privileges", _SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1))


def drop_bounding_capabilities() -> None:
    """Take away capabilities that a program could otherwise inherit, as far as one may."""
    for number in range(64):
        if _libc.prctl(_DROP_BOUNDING_CAPABILITY, ctypes.c_ulong(number), 0, 0, 0) < 0:
            return


def drop_capabilities() -> None:
    """Give up every capability this process has. Raises: OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())
