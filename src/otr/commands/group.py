"""The process group of a command that torchrun started in several processes."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from otr.signals import Stopped


@contextmanager
def left_in_the_end() -> Iterator[None]:
    """Leave the process group, if one was joined, where all processes end together: done, or stopped
    by a signal.

    The threads of a group that still stands as the interpreter goes may abort the process. A process
    that fails alone leaves nothing: the others are still in the group.
    """
    try:
        yield
    except Stopped:
        leave()
        raise
    leave()


def leave() -> None:
    """Leave the process group, if one was joined, and end its threads.

    What still holds the group, such as a wrapped model in a cycle, goes first: a thread that lives
    on and asks for the interpreter as that ends is unwound, and its process aborted.
    """
    import torch

    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()
        gc.collect()
