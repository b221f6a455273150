"""Looking at a run's model before it is trained, within so many seconds, and leaving it as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from otr.training.model_head import in_mode
from otr.training.trainer import OTRTrainer

LOOK_SECONDS = 30.0
"""How long `otr check` looks at a model by default."""

_SHORT, _LONG = 1.0, 4.0
"""Seconds of a piece: rows are added below the one, and taken away above the other."""

_BACKWARD = 3.0
"""A pass forward and backward takes about as much longer than one forward: it makes three times the
products where all weights are trained, twice with an adapter."""

_MOST_PASSES = 3

_TRIED_BATCHES = 200


class Pieces:
    """The first batches of training in pieces of whole rows, until the seconds are over; the first
    piece is a single row, so that a large model is left soon after them."""

    def __init__(
        self, trainer: OTRTrainer, seconds: float, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._trainer, self._seconds, self._clock = trainer, seconds, clock
        self.seconds_per_token = 0.0
        """Of the quickest piece; whoever takes the pieces does the work between two of them."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        end = self._clock() + self._seconds
        num_rows = 1
        for batch in self._trainer.get_train_dataloader():
            inputs = self._trainer._prepare_inputs(batch)
            at, all_rows = 0, len(inputs["labels"])
            while at < all_rows:
                piece = rows_of(inputs, at, at + num_rows)
                at += len(piece["labels"])
                before = self._clock()
                yield piece
                seconds = self._clock() - before
                rate = seconds / piece["labels"].numel()
                self.seconds_per_token = min(self.seconds_per_token or rate, rate)
                if self._clock() >= end:
                    return
                if seconds < _SHORT:
                    num_rows = min(2 * num_rows, all_rows)
                elif seconds > _LONG:
                    num_rows = max(1, num_rows // 2)


def rows_of(inputs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Some rows of a batch; all of them where not everything in it is by row."""
    num_rows = len(inputs["labels"])
    tensors = {key: value for key, value in inputs.items() if isinstance(value, torch.Tensor)}
    if any(value.ndim == 0 or len(value) != num_rows for value in tensors.values()):
        return inputs
    return inputs | {key: value[start:stop] for key, value in tensors.items()}


@dataclass(frozen=True, kw_only=True)
class TimedPass:
    """A pass forward and backward as training makes it, without an update."""

    num_tokens: int
    """Padding among them."""

    seconds: float


def timed_pass(trainer: OTRTrainer, seconds_per_token: float, seconds: float) -> TimedPass | None:
    """The quickest of some passes over the first rows of training, as many rows as are likely to be
    done in `seconds`; None if not even one is.

    The first pass makes room in memory, and other programs make passes slower, never quicker: it is
    repeated while there is time.
    """
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    num_rows = len(inputs["labels"])
    expected = _BACKWARD * seconds_per_token * inputs["labels"].numel()
    while num_rows > 1 and expected > seconds:
        num_rows, expected = num_rows // 2, expected / 2
    piece = rows_of(inputs, 0, num_rows)
    if _BACKWARD * seconds_per_token * piece["labels"].numel() > seconds:
        return None
    taken: list[float] = []
    with _as_in_training(trainer):
        while len(taken) < _MOST_PASSES and sum(taken) + max(taken, default=0.0) <= seconds:
            taken.append(_seconds_of(trainer, piece))
    return TimedPass(num_tokens=piece["labels"].numel(), seconds=min(taken))


def _seconds_of(trainer: OTRTrainer, inputs: dict[str, Any]) -> float:
    assert trainer.model is not None
    start = perf_counter()
    with trainer.accelerator.autocast():
        head, _ = trainer.forward_with_head(trainer.model, inputs, trainer.objective.at(0.0))
    assert head.loss is not None
    trainer.accelerator.backward(head.loss)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - start


@contextmanager
def _as_in_training(trainer: OTRTrainer) -> Iterator[None]:
    """The model in training mode, with activations recomputed if training does so; no gradient stays
    behind."""
    model: Any = trainer.model
    before = [(weight, weight.grad) for weight in model.parameters()]
    checkpoints = trainer.args.gradient_checkpointing and not model.is_gradient_checkpointing
    if checkpoints:
        model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
    try:
        with in_mode(model, training=True):
            for weight, _ in before:
                weight.grad = None
            yield
    finally:
        for weight, gradient in before:
            weight.grad = gradient
        if checkpoints:
            model.gradient_checkpointing_disable()


@contextmanager
def as_it_was(trainer: OTRTrainer) -> Iterator[None]:
    """Random numbers, the head's timer and the model's mode are afterwards what they were."""
    assert trainer.model is not None
    timer = trainer.head_timer.state()
    with torch.random.fork_rng(), in_mode(trainer.model, training=trainer.model.training):
        yield
    trainer.head_timer.restore(timer)


def padded_length(lengths: list[int], num_rows: int) -> float:
    """Tokens of a row on average in batches of `num_rows`, with the padding up to the longest."""
    if num_rows == 1 or len(set(lengths)) == 1:
        return sum(lengths) / len(lengths)
    drawn = np.random.default_rng(0).choice(lengths, (_TRIED_BATCHES, num_rows))
    return float(drawn.max(axis=1).mean())
