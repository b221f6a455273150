"""The process group of a command that torchrun started in several processes."""

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
        _leave()
        raise
    _leave()


def _leave() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
