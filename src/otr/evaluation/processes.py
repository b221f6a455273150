"""Several processes, started by torchrun or accelerate, that share one evaluation."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

Thing = TypeVar("Thing")

_LONGEST_WAIT = timedelta(days=30)
"""One process may be done long before another."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Which of how many processes this is."""

    rank: int = 0

    count: int = 1

    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this one writes and prints what is there once."""
        return self.rank == 0

    def share(self, things: Sequence[Thing]) -> list[Thing]:
        """This process's part of what all have in the same order."""
        return list(things[self.rank :: self.count])

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, in each process."""
        if self.count == 1:
            return [value]
        values = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values


def join_processes() -> Processes:
    """Find the others, if any were started."""
    cuda = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device="cuda" if cuda else "cpu")
    from accelerate import PartialState

    state = PartialState(cpu=not cuda, timeout=_LONGEST_WAIT)
    return Processes(rank=state.process_index, count=state.num_processes, device=str(state.device))
