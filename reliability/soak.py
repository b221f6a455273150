"""A long run through `otr train`, its process's memory measured from outside."""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from scipy.stats import theilslopes

from otr import runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations

MOST_GROWTH_MB = 5.0
"""Above it, a run of 10,000 steps counts as leaking."""

_POLL_SECONDS = 0.1
_MOST_SAMPLES = 1500
_TAIL_BYTES = 4096
_LEFT_OUT = 0.1
"""The share of the steps before which memory still settles."""
_STEPS_BETWEEN_LINES = 500

Train = Callable[[str], Any]


@dataclass(frozen=True)
class Soaked:
    """What a long run came to."""

    steps: int
    samples: int
    """Measurements of memory after the first tenth of the steps."""
    memory_mb: float
    """Median of the process's resident memory over these."""
    growth_mb: float
    """What it grew by from the first tenth of the steps to the end, by a robust slope."""
    metrics_lines: int
    generations: int
    checkpoints_written: int
    checkpoints_kept: int
    minutes: float


def growth_mb(points: Sequence[tuple[int, float]]) -> float:
    """What memory grew by between the first and the last of some (step, MiB) pairs.

    The median of the slopes of all pairs of points times the steps between (Theil and Sen): up to
    29 % of the points may lie anywhere.
    """
    kept = points[:: max(1, len(points) // _MOST_SAMPLES)]
    steps, sizes = zip(*kept, strict=True)
    found: Any = theilslopes(sizes, steps)
    return float(found.slope) * (steps[-1] - steps[0])


def soak(
    folder: Path,
    *,
    steps: int,
    save_steps: int,
    train: Train | None = None,
    say: Callable[[str], object] | None = None,
) -> tuple[Soaked, list[tuple[int, float]]]:
    """Train for so many steps in a process of its own, and measure it; and the (step, MiB) pairs.

    `train` is what that process calls with the recipe's path, `otr train` unless given; `say` is told
    the memory now and then.
    """
    recipe = _write_recipe(folder, steps, save_steps)
    context = multiprocessing.get_context("spawn")
    began = time.monotonic()
    process = context.Process(target=_call, args=(train or otr_train, str(recipe)))
    process.start()
    assert process.pid is not None
    try:
        metrics = folder / "run" / runs.METRICS
        points = _measured(process, psutil.Process(process.pid), metrics, say)
    finally:
        process.kill()
    if process.exitcode != 0:
        raise RuntimeError(f"training ended with status {process.exitcode}")
    settled = [point for point in points if point[0] >= _LEFT_OUT * steps]
    run = folder / "run"
    sizes = sorted(size for _, size in settled)
    soaked = Soaked(
        steps=steps,
        samples=len(settled),
        memory_mb=sizes[len(sizes) // 2],
        growth_mb=growth_mb(settled),
        metrics_lines=sum("loss" in row for row in runs.read_jsonl(run / runs.METRICS)),
        generations=sum(1 for _ in runs.read_jsonl(run / runs.SAMPLES)),
        checkpoints_written=steps // save_steps,
        checkpoints_kept=len(list((run / runs.CHECKPOINTS).glob("checkpoint-*"))),
        minutes=(time.monotonic() - began) / 60,
    )
    return soaked, points


def otr_train(recipe: str) -> int:
    """The command line's own way."""
    from otr.commands.main import main

    return main(["train", recipe])


def _call(train: Train, recipe: str) -> None:
    """What the measured process does."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    raise SystemExit(train(recipe))


def _measured(
    process: Any, measured: psutil.Process, metrics: Path, say: Callable[[str], object] | None
) -> list[tuple[int, float]]:
    """The last step that was logged and the resident memory, now and again until the end."""
    points, to_say = [], 1
    while process.is_alive():
        try:
            size = measured.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            break
        step = _last_step(metrics)
        if step is not None and (not points or points[-1][0] < step):
            points.append((step, size))
            if say is not None and step >= to_say:
                say(f"step {step:,}: {size:.0f} MiB")
                to_say = step + _STEPS_BETWEEN_LINES
        process.join(_POLL_SECONDS)
    process.join()
    return points


def _last_step(metrics: Path) -> int | None:
    """Of the last whole line; None before the first."""
    try:
        with open(metrics, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    return int(lines[-1].split(b'"step": ')[1].split(b",")[0]) if lines else None


def _write_recipe(folder: Path, steps: int, save_steps: int) -> Path:
    """Checkpoints, evaluations and generations come now and then."""
    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    data = data_section(folder / "rows.jsonl")
    recipe = {
        "model": "demo-weak",
        "data": data | {"validation": str(folder / "rows.jsonl")},
        "objective": {"name": "otr", "num_rollouts": 16},
        "training": {
            "max_steps": steps,
            "save_steps": save_steps,
            "eval_strategy": "steps",
            "eval_steps": 5 * save_steps,
            "per_device_train_batch_size": 1,
            "learning_rate": 1e-4,
        },
        "samples": {"every_steps": save_steps, "max_new_tokens": 8},
        "output_dir": str(folder / "run"),
    }
    path = folder / "recipe.yaml"
    with open(path, "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(recipe, file)
    return path
