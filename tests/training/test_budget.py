"""A budget in seconds: where training ends, and what the learning rate does on the way."""

from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.errors import UserError
from otr.training import pipeline
from otr.training.budget import TimeBudget
from otr.training.config import Run
from otr.training.cost import Clock
from otr.training.pipeline import train
from otr.training.prepared_run import prepare

pytestmark = pytest.mark.filterwarnings("ignore")


def run_of(folder: Path, seconds: float, **training: Any) -> Run:
    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    return Run.model_validate(
        {
            "model": "demo-weak",
            "data": data_section(folder / "rows.jsonl"),
            "objective": {"name": "otr", "num_rollouts": 8, "sft_until": 1.0},
            "training": {"learning_rate": 1e-3, "save_strategy": "no", **training},
            "samples": {"every_steps": 0},
            "max_seconds": seconds,
            "output_dir": str(folder / "run"),
        }
    )


class SlowClock(Clock):
    """A clock that a step takes 0.3 s by, on any machine."""

    @property
    def seconds(self) -> float:
        return self._before


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def passed(self: TimeBudget, *args: Any, **kwargs: Any) -> None:
        self.clock.restore({"seconds": 0.3})
        read(self, *args, **kwargs)

    read = TimeBudget.on_optimizer_step
    monkeypatch.setattr(TimeBudget, "on_optimizer_step", passed)
    monkeypatch.setattr(pipeline, "Clock", SlowClock)


@pytest.mark.usefixtures("slow_clock")
def test_training_ends_with_its_seconds_and_schedules_run_over_them(tmp_path: Path) -> None:
    folder = train(run_of(tmp_path, 2.0), progress=False)
    rows = list(runs.read_jsonl(folder / runs.METRICS))
    lines = [row for row in rows if "loss" in row]
    cost = runs.read_json(folder / runs.COST)
    # Six steps end before the two seconds are up; the seventh ends training.
    assert cost["num_steps"] == len(lines) == 7
    assert cost["seconds"] == pytest.approx(2.1)
    for number, line in enumerate(lines):
        # The rate of a step was set when the step before it ended.
        assert line["learning_rate"] == pytest.approx(1e-3 * (1 - number * 0.3 / 2.0), rel=1e-4)
    assert lines[0]["target_weight"] > 0.9 > lines[-1]["target_weight"]


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"warmup_steps": 10}, "share of the budget"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps"},
            "follows the loss",
        ),
    ],
)
def test_what_cannot_run_over_seconds_is_refused(
    tmp_path: Path, training: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        prepare(run_of(tmp_path, 2.0, **training))


def test_a_stopped_clock_stands_still() -> None:
    clock = Clock()
    clock.start()
    clock.stop()
    seconds = clock.seconds
    assert clock.seconds == seconds >= 0
