"""How the threads of a command wait for each other on a machine that others use too."""

import os

WAIT_POLICY = "OMP_WAIT_POLICY"
SPINNING = (WAIT_POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""What says how OpenMP's threads wait: the standard's variable, GNU's, and two of LLVM's and
Intel's."""


def wait_asleep() -> None:
    """Have OpenMP's threads sleep while they wait for each other, unless the user has said how they
    wait.

    By default they spin, and then a thread whose core another process has holds up all the others
    at every product. The libraries read this when they are loaded, so it comes before torch, and the
    processes that a command starts inherit it. A library that is imported into another program
    leaves that program's environment alone, so this belongs to the command line.
    """
    if not any(variable in os.environ for variable in SPINNING):
        os.environ[WAIT_POLICY] = "PASSIVE"
