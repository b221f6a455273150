"""A short version of `make soak`, and what it would say of a leak."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reliability.soak import growth_mb, otr_train, soak


def noisy(per_step_mb: float) -> list[tuple[int, float]]:
    """Memory over 10,000 steps: a trend, noise, and a peak in every tenth sample."""
    rng = np.random.default_rng(0)
    steps = np.arange(1000, 10_000, 10)
    sizes = 600 + per_step_mb * steps + rng.normal(0, 0.5, len(steps))
    sizes[::10] += 200
    return [(int(step), float(size)) for step, size in zip(steps, sizes, strict=True)]


@pytest.mark.parametrize("per_step_mb", [0.0, 0.001, -0.002, 0.5])
def test_growth_is_the_trend_whatever_the_peaks(per_step_mb: float) -> None:
    assert growth_mb(noisy(per_step_mb)) == pytest.approx(per_step_mb * 8990, abs=0.3)


def leaking_train(recipe: str) -> int:
    """`otr train` with a callback that keeps half a MiB every step."""
    from transformers import TrainerCallback

    from otr.training import pipeline

    kept: list[bytes] = []

    class Leak(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            kept.append(b"x" * 2**19)

    usual: Any = pipeline.run_callbacks
    pipeline.run_callbacks = lambda *words: [Leak(), *usual(*words)]
    return otr_train(recipe)


@pytest.mark.slow
def test_a_run_does_not_grow_and_one_that_leaks_does(tmp_path: Path) -> None:
    assert "tests.reliability.test_soak" in sys.modules
    grown = []
    for name, train in (("usual", otr_train), ("leaking", leaking_train)):
        (tmp_path / name).mkdir()
        soaked, points = soak(tmp_path / name, steps=120, save_steps=30, train=train)
        assert points[-1][0] > 100 and soaked.samples >= 5
        assert soaked.metrics_lines == 120
        assert (soaked.checkpoints_written, soaked.checkpoints_kept) == (4, 2)
        assert soaked.generations == 8
        grown.append(soaked.growth_mb)
    # The leak is of 54 MiB over the measured steps; a run this short still settles a little.
    assert grown[0] < 20 < 35 < grown[1] < 80
