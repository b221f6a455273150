"""A seccomp filter: system calls that no answer needs and that reach out of the sandbox.

They fail with EPERM. The filter is a program of the kernel's packet filter, see seccomp(2).
"""

import ctypes
import errno
import struct

from .kernel import control

_SET_SECCOMP, _FILTER = 22, 2
_LOAD, _MASK, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_KILL, _FAIL, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Calls of x86-64's other numbering begin here; none is allowed."""

_NEW_NAMESPACES = 0x7E020000
"""The flags of clone(2) that make one."""

_CLONE = (56, 220)
_CLONE3 = 435
_PRLIMIT = (302, 261)
_SOCKETPAIR = (53, 199)
_OPEN, _OPENAT, _OPENAT2 = 2, (257, 56), 437
_ACCESS, _EMPTY = 0o3, 0o1000
"""Of the flags of open(2). An access of 3, for neither reading nor writing, needs no right that
Landlock guards."""

_FCNTL = (72, 25)
_IOCTL = (16, 29)
_NEWEST_KNOWN = 462
"""mseal. What came later is answered as an older kernel does, so that no new call does what an old
one may not, as setxattrat and setxattr."""

_UNIX = 1
_DATAGRAM = 2
"""The bit that types of sockets have which can send to a name, though they are one of a pair."""

_DENIED_OF_FCNTL = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: any signal to another process, when a pipe has something;
F_SETLEASE, F_NOTIFY: others wait for whoever reads a file, and are watched."""

_ALLOWED_OF_IOCTL = (0x5401, 0x802C542A, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x40049409)
"""TCGETS, TCGETS2, TIOCGPGRP, TIOCGWINSZ: whether it is a terminal, and which; FIONREAD, FIONBIO,
FIONCLEX, FIOCLEX; FICLONE, a copy. Of the others some type at a terminal, signal as F_SETOWN does, or
change what a file is without its being opened to be written."""

# Name: number on x86-64, number on arm64; None where there is no such call.
_DENIED: dict[str, tuple[int, int | None]] = {
    # The network; `socketpair` stays.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    # Other processes.
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "get_robust_list": (274, 100),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    # All processes of a program stay in one group, which is killed at one stroke.
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Memory that the limit on addresses does not count, or that others share.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Namespaces and mounts.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Modes, owners, times and attributes: Landlock does not guard them, nor, before Linux 6.2,
    # truncation.
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    # What all processes of the machine share: its queues of input and output, its disks' rest; and
    # who opens which file.
    "io_setup": (206, 0),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "inotify_add_watch": (254, 27),
    # Parts of the kernel that had more than their share of faults.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
}


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def is_known(machine: str) -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return machine in _ARCHITECTURES


def deny_system_calls(machine: str) -> None:
    """Filter this process and all it starts, for good. Needs `no new privileges`.

    Raises: OSError if the kernel does not filter.
    """
    code = b"".join(struct.pack("=HBBI", *step) for step in _steps(machine))
    program = _Program(len(code) // 8, code)
    control("seccomp", _SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program))


_Step = tuple[int, int, int, int]
"""Operation, steps to skip if true, if false, operand."""

_DENY = (_RETURN, 0, 0, _FAIL | errno.EPERM)
_UNKNOWN = (_RETURN, 0, 0, _FAIL | errno.ENOSYS)
_ALLOW_IT = (_RETURN, 0, 0, _ALLOW)
_FIRST, _SECOND, _THIRD = ((_LOAD, 0, 0, _ARGUMENTS + 8 * place) for place in range(3))


def _steps(machine: str) -> list[_Step]:
    column = 0 if machine == "x86_64" else 1
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _DENY,
        (_AT_LEAST, 0, 1, _NEWEST_KNOWN + 1),
        _UNKNOWN,
    ]
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None:
            steps += _if_it_is(number, _DENY)
    # Without clone3 the C library uses clone, whose flags can be seen.
    steps += _if_it_is(_CLONE3, _UNKNOWN)
    flags = (_ANY_BIT, 0, 1, _NEW_NAMESPACES)
    steps += _if_it_is(_CLONE[column], _FIRST, flags, _DENY, _ALLOW_IT)
    # Limits of its own may be changed, those of other processes not.
    own = (_EQUAL, 1, 0, 0)
    steps += _if_it_is(_PRLIMIT[column], _FIRST, own, _DENY, _ALLOW_IT)
    unix, datagram = (_EQUAL, 1, 0, _UNIX), (_ANY_BIT, 0, 1, _DATAGRAM)
    steps += _if_it_is(
        _SOCKETPAIR[column], _FIRST, unix, _DENY, _SECOND, datagram, _DENY, _ALLOW_IT
    )
    steps += _if_it_is(_OPENAT[column], *_opening(_THIRD))
    steps += _if_it_is(_OPENAT2, _UNKNOWN)
    if machine == "x86_64":
        steps += _if_it_is(_OPEN, *_opening(_SECOND))
    denied = [step for each in _DENIED_OF_FCNTL for step in _if_it_is(each, _DENY)]
    steps += _if_it_is(_FCNTL[column], _SECOND, *denied, _ALLOW_IT)
    allowed = [step for each in _ALLOWED_OF_IOCTL for step in _if_it_is(each, _ALLOW_IT)]
    steps += _if_it_is(_IOCTL[column], _SECOND, *allowed, _DENY)
    return [*steps, _ALLOW_IT]


def _opening(flags: _Step) -> list[_Step]:
    """A file is opened to be read or written, and not emptied where it is opened to be read."""
    neither = [flags, (_MASK, 0, 0, _ACCESS), *_if_it_is(_ACCESS, _DENY)]
    empties = [flags, (_MASK, 0, 0, _ACCESS | _EMPTY), *_if_it_is(_EMPTY, _DENY)]
    return [*neither, *empties, _ALLOW_IT]


def _if_it_is(value: int, *steps: _Step) -> list[_Step]:
    """Steps for one value alone of what is loaded; they end in an answer."""
    return [(_EQUAL, 0, len(steps), value), *steps]
