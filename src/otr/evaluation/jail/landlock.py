"""Landlock: which files a process may read and write, whatever user it is. See landlock(7)."""

import ctypes
import os

from .kernel import call, system_call

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TRUNCATE = 1 << 14
_ONLY_FOR_FOLDERS = ~(_EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE)
_NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""By version of the interface; 16 from the fifth on."""

_TCP = 0b11
_OUTSIDE_SOCKETS_AND_SIGNALS = 0b11


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def version() -> int:
    """The version of the kernel's interface; 0 if it has none, or it is switched off."""
    try:
        return system_call("landlock", _CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def allow_only(readable: list[str], writable: list[str]) -> None:
    """From here on only these paths and what is below them can be opened; no TCP, no signals out.

    TCP is guarded from version 4 on, signals and abstract sockets from 6. Needs `no new
    privileges`.
    Raises: OSError if the kernel has no Landlock.
    """
    abi = version()
    everything = (1 << _NUM_FILE_RIGHTS.get(abi, 16)) - 1
    rules = (ctypes.c_uint64 * 3)(everything, _TCP, _OUTSIDE_SOCKETS_AND_SIGNALS)
    num_bytes = 8 * (1 + (abi >= 4) + (abi >= 6))
    ruleset = system_call(
        "landlock_create_ruleset",
        _CREATE,
        rules,
        ctypes.c_size_t(num_bytes),
        ctypes.c_uint32(0),
    )
    for paths, rights in ((readable, _READ), (writable, everything)):
        for path in paths:
            if os.path.exists(path):
                _allow(ruleset, path, rights)
    system_call("landlock_restrict_self", _RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    call("close", ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= ~_ONLY_FOR_FOLDERS
    beneath = _Beneath(rights, folder)
    system_call(
        "landlock_add_rule",
        _ADD,
        ctypes.c_int(ruleset),
        ctypes.c_int(_PATH_BENEATH),
        ctypes.byref(beneath),
        ctypes.c_uint32(0),
    )
    os.close(folder)
