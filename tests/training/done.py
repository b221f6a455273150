"""The end of a program that torchrun has started in several processes."""

import atexit
import os
import sys

from otr.commands.group import leave


def done() -> None:
    """Leave the process group and end with status 0, without the interpreter's own end: one of two
    processes has been aborted about then. What goes wrong before is still told."""
    leave()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
