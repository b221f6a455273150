"""Training killed with SIGKILL at random moments, many of them inside a save, and gone on with."""

import multiprocessing
import os
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from otr import runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.training.checkpoints import ASIDE
from otr.training.config import Run
from reliability.ends import differing, end_of

_STEPS = 24
_LONGEST_LIFE_SECONDS = 3.0
_LONGEST_SAVE_SECONDS = 0.04
_DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.0002


@dataclass
class Outcome:
    """What was done and what came of it."""

    kills: int = 0
    inside_a_save: int = 0
    """Kills after which the half of a checkpoint was found."""
    runs: int = 0
    """Runs that were killed at least once and then went on to their end."""
    different: int = 0
    """Of these, runs that did not end as the unbroken one."""

    def as_json(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)


def survive(folder: Path, *, num_kills: int, num_inside: int, seed: int = 0) -> Outcome:
    """Kill a run again and again until it has ended, and compare; then the next run, until there
    were enough kills of both kinds."""
    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["otr.training.pipeline"])
    whole = _run(folder, "whole")
    _live(context, whole).join()
    wanted = end_of(Path(whole.output_dir), _STEPS)
    draws, outcome, number = random.Random(seed), Outcome(), 0
    while outcome.kills < num_kills or outcome.inside_a_save < num_inside:
        number += 1
        run, killed = _run(folder, f"killed-{number}"), 0
        inside_is_due = outcome.inside_a_save * num_kills < num_inside * (outcome.kills + 1)
        while _killed(context, run, draws, outcome, inside=inside_is_due):
            killed += 1
            inside_is_due = outcome.inside_a_save * num_kills < num_inside * (outcome.kills + 1)
        if killed:
            outcome.runs += 1
            outcome.different += bool(differing(wanted, end_of(Path(run.output_dir), _STEPS)))
        print(f"{outcome.kills} kills, {outcome.inside_a_save} inside a save", flush=True)
        shutil.rmtree(run.output_dir)
    return outcome


def _run(folder: Path, name: str) -> Run:
    return Run.model_validate(
        {
            "model": "demo-weak",
            "data": data_section(folder / "rows.jsonl") | {"limit": 40},
            "objective": {"name": "otr", "num_rollouts": 16},
            "training": {
                "max_steps": _STEPS,
                "save_steps": 2,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "learning_rate": 1e-3,
            },
            "samples": {"every_steps": 7, "max_new_tokens": 4},
            "output_dir": str(folder / name),
        }
    )


def _live(context: Any, run: Run) -> Any:
    process = context.Process(target=_train, args=(run,))
    process.start()
    return process


def _train(run: Run) -> None:
    """What the process that is killed does: the same call every time."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    torch.set_num_threads(1)
    from otr.training.pipeline import train

    train(run, progress=False)


def _killed(
    context: Any, run: Run, draws: random.Random, outcome: Outcome, *, inside: bool
) -> bool:
    """Let a run live, and kill it; False if it came to its end before."""
    aside = Path(run.output_dir) / runs.CHECKPOINTS / ASIDE
    started = time.time()
    process = _live(context, run)
    if inside:
        saves_to_pass = draws.randrange(3)
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while process.is_alive() and time.monotonic() < deadline:
            if _is_saving(aside, started):
                if saves_to_pass == 0:
                    time.sleep(draws.uniform(0, _LONGEST_SAVE_SECONDS))
                    break
                saves_to_pass -= 1
                while process.is_alive() and _is_saving(aside, started):
                    time.sleep(_POLL_SECONDS)
            time.sleep(_POLL_SECONDS)
    else:
        process.join(draws.uniform(0.2, _LONGEST_LIFE_SECONDS))
    if not process.is_alive():
        if process.exitcode != 0:
            raise RuntimeError(f"a run ended by itself with status {process.exitcode}")
        return False
    process.kill()
    process.join()
    outcome.kills += 1
    outcome.inside_a_save += _is_saving(aside, started)
    return True


def _is_saving(aside: Path, started: float) -> bool:
    """Whether there is half of a checkpoint that was begun since then."""
    try:
        return aside.stat().st_mtime > started and any(aside.iterdir())
    except FileNotFoundError:
        return False
