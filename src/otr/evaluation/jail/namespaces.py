"""A program's own view of the machine: its processes, its network, its files."""

import ctypes
import os

from .kernel import call, system_call

_NEW_MOUNT = 0x00020000
_NEW_UTS = 0x04000000
_NEW_IPC = 0x08000000
_NEW_USER = 0x10000000
_NEW_PROCESS = 0x20000000
_NEW_NETWORK = 0x40000000

_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_PROGRAMS = 1, 2, 4, 8
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_DETACH = 2
_HERE = -100
_ALL_BELOW = 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442

SCRATCH = "/scratch"
"""The only folder that the program may write to, in its view."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def leave(*, own_user: bool) -> None:
    """Enter new namespaces for processes (from the next fork on), network, IPC and host name.

    own_user: a user namespace too, which needs no rights; this process's user and group are the
    only ones in it.
    Raises: OSError if the system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    flags = _NEW_PROCESS | _NEW_NETWORK | _NEW_IPC | _NEW_UTS
    call("unshare", flags | (_NEW_USER if own_user else 0))
    if own_user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")


def enter_own_files(
    folder: str, readable: list[str], *, scratch_mb: int, num_entries: int, machine: str
) -> None:
    """See only the readable paths, read-only, four harmless devices and an empty folder.

    `folder` is where the new root is put together; outside nothing of it is seen. There is
    neither /proc nor /sys. The empty folder is in memory, holds `scratch_mb` and `num_entries`
    files, and is gone with the last process.
    Raises: OSError if the system does not allow it.
    """
    call("unshare", _NEW_MOUNT)
    _mount(None, "/", flags=_RECURSIVE | _PRIVATE)
    _mount(
        "tmpfs",
        folder,
        kind="tmpfs",
        flags=_NO_SETUID | _NO_DEVICES,
        options="size=4m,nr_inodes=4096,mode=755",
    )
    for path in readable:
        _show(path, folder + path, _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    for path in DEVICES:
        if os.path.exists(path):
            _show(path, folder + path, _NO_SETUID | _NO_PROGRAMS)
    os.mkdir(folder + SCRATCH)
    _mount(
        "tmpfs",
        folder + SCRATCH,
        kind="tmpfs",
        flags=_NO_SETUID | _NO_DEVICES,
        options=f"size={scratch_mb}m,nr_inodes={num_entries},mode=700",
    )
    if not os.path.lexists(folder + "/tmp"):
        os.symlink(SCRATCH, folder + "/tmp")
    os.chdir(folder)
    system_call("pivot_root", _PIVOT_ROOT[machine], b".", b".")
    call("umount2", b".", _DETACH)
    os.chdir("/")
    _mount(None, "/", flags=_REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES)


def _write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


def _show(path: str, target: str, flags: int) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, target, flags=_BIND | _RECURSIVE)
    # struct mount_attr: set, clear, propagation, user namespace.
    attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    system_call(
        "mount_setattr",
        _MOUNT_SETATTR,
        ctypes.c_int(_HERE),
        os.fsencode(target),
        ctypes.c_uint(_ALL_BELOW),
        attributes,
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def _mount(
    source: str | None, target: str, *, kind: str | None = None, flags: int = 0, options: str = ""
) -> None:
    call(
        "mount",
        source and os.fsencode(source),
        os.fsencode(target),
        kind and kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
