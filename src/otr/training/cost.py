"""What a run cost: time, tokens a second, peak memory, the head's share."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import TrainerCallback

from otr import runs
from otr.training.memory import peak_memory_mb


class Clock:
    """Counts the seconds of training: reading batches, steps and logging; not evaluation, sample
    generations and checkpoints."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """What has been counted so far."""
        return self._before + (0.0 if self._since is None else perf_counter() - self._since)

    def start(self) -> None:
        """Count from now on."""
        self.stop()
        self._since = perf_counter()

    def stop(self) -> None:
        """Count no longer."""
        self._before, self._since = self.seconds, None

    def state(self) -> dict[str, Any]:
        """What has been counted, as plain values."""
        return {"seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Count on from what `state` returned."""
        self._before += state["seconds"]


class StopClock(TrainerCallback):
    """The first of a run's callbacks: what the others do at a step's end does not count."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clock.stop()

    on_train_end = on_step_end


class StartClock(TrainerCallback):
    """The last of a run's callbacks. After a step the trainer logs, evaluates and saves."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clock.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not (control.should_evaluate or control.should_save or control.should_training_stop):
            self.clock.start()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not (control.should_save or control.should_training_stop):
            self.clock.start()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not control.should_training_stop:
            self.clock.start()


class HeadTimer:
    """Adds up the time of the head's forward pass, which makes its gradients too.

    On an accelerator by events, which are read once they are over, or when the sum is asked for.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Time what is done inside."""
        if device.type == "cuda":
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            stream = torch.cuda.current_stream(device)
            begin.record(stream)
            yield
            end.record(stream)
            self._events.append((begin, end))
            while self._events and self._events[0][1].query():
                self._add_first()
        else:
            start = perf_counter()
            yield
            self._seconds += perf_counter() - start

    def state(self) -> dict[str, Any]:
        """The sum, as plain values."""
        return {"seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Add on to what `state` returned."""
        self._seconds = state["seconds"]

    @property
    def seconds(self) -> float:
        """The sum so far."""
        while self._events:
            self._events[0][1].synchronize()
            self._add_first()
        return self._seconds

    def _add_first(self) -> None:
        begin, end = self._events.popleft()
        self._seconds += begin.elapsed_time(end) / 1000


def write_cost(folder: Path, clock: Clock, trainer: Any, head_seconds: float | None) -> None:
    """Write a trained run's cost.json."""
    if not trainer.is_world_process_zero():
        return
    state, seconds = trainer.state, clock.seconds
    tokens = [line["num_tokens"] for line in state.log_history if "num_tokens" in line]
    num_tokens = int(tokens[-1]) if tokens else 0
    share = None if head_seconds is None or seconds == 0 else head_seconds / seconds
    runs.write_json(
        folder / runs.COST,
        {
            "seconds": seconds,
            "num_steps": state.global_step,
            "num_tokens": num_tokens,
            "tokens_per_second": num_tokens / seconds if seconds else 0.0,
            "peak_memory_mb": peak_memory_mb(),
            "head_share": share,
        },
    )
