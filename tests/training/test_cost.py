"""The head's time on an accelerator, by events that are over at some time later."""

import pytest
import torch

from otr.training.cost import HeadTimer

DEVICE = torch.device("cuda", 1)


class Event:
    """Stands for CUDA's: over when `now` has come to where it was recorded, a second a record."""

    recorded = now = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: object) -> None:
        assert stream == f"stream of {DEVICE}"
        Event.recorded += 1
        self.at = Event.recorded

    def query(self) -> bool:
        return self.at <= Event.now

    def synchronize(self) -> None:
        Event.now = max(Event.now, self.at)

    def elapsed_time(self, end: "Event") -> float:
        assert self.query() and end.query()
        return 1000.0 * (end.at - self.at)


def test_events_are_read_once_they_are_over_and_the_others_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    timer = HeadTimer()
    for number in range(100):
        # The device is three passes behind.
        Event.now = 2 * (number - 3)
        with timer.running(DEVICE):
            pass
    assert 3 <= len(timer._events) <= 4
    assert timer.seconds == 100 and not timer._events
    assert timer.state() == {"seconds": 100.0}
