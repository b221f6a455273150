"""A budget in seconds: training ends when they are used up, and schedules run over them."""

from typing import Any

import torch
from transformers import TrainerCallback

from otr.errors import UserError
from otr.training.cost import Clock

UNREACHED_STEPS = 1_000_000
"""The number of steps that stands for the whole budget where none is given."""

_FOLLOW_THE_LOSS = ("reduce_lr_on_plateau", "greedy")


class TimeBudget(TrainerCallback):
    """Stops training after so many seconds, and drives the learning rate by the share of them.

    A schedule over N steps is asked for step round(N seconds / budget). The first process's clock is
    read once a step, and counts for all: they have one learning rate, and stop at one step.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.budget_seconds = clock, seconds
        self._seconds = 0.0

    def state(self) -> dict[str, Any]:
        """When the clock was read last, as plain values."""
        return {"seconds": self._seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._seconds = state["seconds"]

    def share(self) -> float:
        """The share of the budget that was used up when the clock was read last."""
        return min(1.0, self._seconds / self.budget_seconds)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **_: Any
    ) -> None:
        scheduler = getattr(lr_scheduler, "scheduler", lr_scheduler)
        scheduler.lr_lambdas = [
            lambda step, of=of: of(round(self.share() * state.max_steps))
            for of in scheduler.lr_lambdas
        ]

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The learning rate of the next step is set right after this.
        self._seconds = self.clock.seconds
        if args.world_size > 1:
            seconds = torch.tensor([self._seconds], dtype=torch.float32, device=args.device)
            torch.distributed.broadcast(seconds, src=0)
            self._seconds = float(seconds.item())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._seconds >= self.budget_seconds:
            control.should_training_stop = True


def share_of_steps(state: Any) -> float:
    """The share of a trainer's steps that is done, between 0 and 1."""
    return min(1.0, state.global_step / max(state.max_steps, 1))


def check_budget(arguments: Any) -> None:
    """Raise UserError where a schedule cannot run over seconds."""
    kind = str(getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type))
    if kind in _FOLLOW_THE_LOSS:
        raise UserError(
            f"training.lr_scheduler_type: {kind} follows the loss, not the time, so it does not go "
            "with max_seconds; give another, such as linear or cosine"
        )
    if arguments.warmup_steps >= 1:
        raise UserError(
            f"training.warmup_steps: with max_seconds give a share of the budget, such as 0.1, "
            f"found {arguments.warmup_steps}"
        )
