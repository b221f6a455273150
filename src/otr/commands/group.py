"""A command that torchrun started in several processes: which one speaks, and their end."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from otr.signals import Stopped


def is_first() -> bool:
    """Whether this process says what all of them know."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def left_in_the_end() -> Iterator[None]:
    """Leave the process group, if one was joined, where all processes end together: done, or stopped
    by a signal.

    A process that fails alone leaves nothing: the others are still in the group.
    """
    try:
        yield
    except Stopped:
        leave()
        raise
    leave()


def leave() -> None:
    """Leave the process group, if one was joined, and end its threads.

    What still holds the group, such as a wrapped model in a cycle, goes first. Processes that were
    done have been aborted as they ended, and a thread that outlives the interpreter may be why.
    """
    import torch

    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()
        gc.collect()
