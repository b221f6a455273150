"""Ending a training when a logged column no longer improves."""

import math
import sys
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from otr.errors import UserError, suggestion

_MORE_IS_BETTER = (
    "mean_token_accuracy", "hit_rate", "reward", "rollout_hit_rate", "rollout_reward",
    "target_weight",
)  # fmt: skip
_MEANS = ("loss", "nll", "entropy", *_MORE_IS_BETTER)
_SOMETIMES = ("kept_fraction", "aux_loss")

TRAINING_COLUMNS = (*_MEANS, *_SOMETIMES, "grad_norm")
EVALUATION_COLUMNS = tuple(f"eval_{name}" for name in (*_MEANS, *_SOMETIMES))
"""What the processes of a run all know alike, so that they stop at one step."""

_OF_EVALUATIONS = ("runtime", "samples_per_second", "steps_per_second")
"""What transformers logs of every evaluation besides."""


def more_is_better(column: str) -> bool:
    """Whether a higher value of a logged column is the better one."""
    name = column.removeprefix("eval_")
    return name in _MORE_IS_BETTER or name.endswith("_per_second")


class EarlyStopping(TrainerCallback):
    """Stops training once a column has not improved for `patience` log lines that have it.

    An improvement is more than `min_delta` below the best value so far, or above it where more is
    better; a value that is not finite is none.
    """

    def __init__(
        self,
        column: str,
        patience: int = 3,
        min_delta: float = 0.0,
        better: str | None = None,
        shown: bool = True,
    ) -> None:
        self.column, self.patience, self.min_delta, self.shown = column, patience, min_delta, shown
        more = more_is_better(column) if better is None else better == "higher"
        self._sign = -1.0 if more else 1.0
        self.best: float | None = None
        self.best_step = self.num_worse = 0

    def state(self) -> dict[str, Any]:
        """The best value so far, and how long ago, as plain values."""
        return {"best": self.best, "best_step": self.best_step, "num_worse": self.num_worse}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.num_worse = state["num_worse"]

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        if self.column not in logs:
            kind = "eval_loss" if self.column.startswith("eval_") else "loss"
            if kind in logs:
                raise UserError(
                    f"early_stopping.column: this run logs no {self.column!r}, only "
                    f"{', '.join(sorted(logs))}"
                )
            return
        value = float(logs[self.column])
        gained = math.inf if self.best is None else self._sign * (self.best - value)
        if math.isfinite(value) and gained > self.min_delta:
            self.best, self.best_step, self.num_worse = value, state.global_step, 0
            return
        self.num_worse += 1
        if self.num_worse < self.patience:
            return
        control.should_training_stop = True
        if self.shown and state.is_world_process_zero:
            best = "never a finite number" if self.best is None else (
                f"best at step {self.best_step}, {self.best:.4g}"
            )  # fmt: skip
            tqdm.write(
                f"step {state.global_step}: stopping early, {self.column} was {best}",
                file=sys.stderr,
            )


def check_column(column: str, has_validation: bool) -> None:
    """Raise UserError for a column that no run logs, or not this one."""
    known = (*TRAINING_COLUMNS, *EVALUATION_COLUMNS)
    if column not in known:
        raise UserError(
            f"early_stopping.column: there is no column {column!r} to stop by"
            f"{suggestion(column, known)} (there are {', '.join(TRAINING_COLUMNS)}; and these with "
            "eval_ before them, but for grad_norm)"
        )
    if column in EVALUATION_COLUMNS and not has_validation:
        raise UserError(
            f"early_stopping.column: {column} is logged where there is validation data; give "
            "data.validation, or a column of the training"
        )


def check_metric(metric: str, has_validation: bool) -> None:
    """Raise UserError if the evaluations of a run do not log what its best model is chosen by."""
    names = [*_MEANS, *_SOMETIMES, *_OF_EVALUATIONS]
    known = [f"eval_{name}" for name in names]
    if f"eval_{metric.removeprefix('eval_')}" not in known:
        raise UserError(
            f"training.metric_for_best_model: there is no metric {metric!r}"
            f"{suggestion(metric, [*known, *names])} (there are {', '.join(known)})"
        )
    if not has_validation:
        raise UserError(
            f"training.metric_for_best_model: {metric} is measured on validation data; give "
            "data.validation, or leave it out"
        )
