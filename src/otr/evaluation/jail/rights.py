"""What a process may use, and in whose name it runs."""

import os
import resource

from .kernel import LINUX

_UNUSED_USERS = ((0x70000000, 1 << 22), (61184, 4336))
"""First and how many, by systemd's table of user numbers: left to nobody, one for each number of a
process; and, where a container has no such high ones, those of services that come and go."""

NOBODY = 65534


def limit_resources(limits: dict[str, int]) -> None:
    """Hard limits of this process and of each that it starts; a lower one that stands is kept.

    The process count is that of the user, in the user namespace if there is one.
    """
    mb = 1 << 20
    wanted = {
        "RLIMIT_CPU": limits["cpu_seconds"],
        "RLIMIT_AS": limits["memory_mb"] * mb,
        "RLIMIT_FSIZE": limits["file_mb"] * mb,
        "RLIMIT_NOFILE": limits["num_open_files"],
        "RLIMIT_NPROC": limits["num_processes"],
        # One byte: with 0, a program that the system hands its dumps to would still be started.
        "RLIMIT_CORE": 1,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, highest = resource.getrlimit(kind)
        # The processor's soft limit sends SIGXCPU, the hard one a second later SIGKILL.
        hard = value + 1 if name == "RLIMIT_CPU" else value
        if highest != resource.RLIM_INFINITY:
            value, hard = min(value, highest), min(hard, highest)
        resource.setrlimit(kind, (value, hard))


def unused_user() -> int:
    """A user number that no account has and, but for a chance, no other sandbox uses now.

    Where a container has no such number, nobody's.
    """
    for first, how_many in _UNUSED_USERS:
        number = first + os.getpid() % how_many
        if _is_mapped(number):
            return number
    return NOBODY


def _is_mapped(number: int) -> bool:
    try:
        with open("/proc/self/uid_map") as table:
            rows = [[int(word) for word in line.split()] for line in table]
    except OSError:
        return False
    return any(first <= number < first + length for first, _, length in rows)


def become(user: int) -> None:
    """Be this user and group for good, without other groups. Raises: OSError."""
    os.setgroups([])
    if LINUX:
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    else:
        os.setregid(user, user)
        os.setreuid(user, user)
    if os.geteuid() != user or os.getuid() != user:
        raise PermissionError(f"the user is still {os.geteuid()}")
