"""`otr demo`: compare SFT, DFT and OTR on an embedded model."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otr import runs
from otr.errors import UserError

if TYPE_CHECKING:
    from otr.commands.study import Job
    from otr.demo.regimes import Regime
    from otr.evaluation.comparison import Comparison
    from otr.report.picture import Panel

_EXAMPLE = """example:
  otr demo
  otr demo --quick

Fine-tunes small embedded models on generated demonstrations under three regimes, with each
objective, two learning rates and three seeds, and prints what came out, also where OTR loses.
Stopped in the middle, the same command goes on where it was."""

_OBJECTIVES = ("sft", "dft", "otr")
_LEARNED, _RETAINED = "demo/in_domain", "demo/retention"
_BENCHMARKS = [_LEARNED, "demo/longer", "demo/phrasing", _RETAINED]
_VALIDATION = "demo/validation"
_UNTUNED = "untuned"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/demo"),
        metavar="DIR",
        help="where runs and results go (runs/demo)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one seed and learning rate: under a minute, no verdict",
    )
    parser.add_argument(
        "--rebuild-base",
        action="store_true",
        help="make the embedded models anew in the output folder, and compare their hashes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, print the tables, write results.json and the picture."""
    from otr.quiet import quiet_libraries

    quiet_libraries()
    if arguments.rebuild_base:
        return _rebuild(arguments.output)
    folder = arguments.output / "quick" if arguments.quick else arguments.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be made: {error.strerror}") from None
    start = time.monotonic()
    jobs = _jobs(folder, arguments.quick)
    _do_all(list(jobs.values()))
    comparisons = _compared(folder, jobs)
    _report(folder, comparisons)
    print(f"({time.monotonic() - start:.0f} s)", file=sys.stderr)
    return 0


def _jobs(folder: Path, quick: bool) -> "dict[tuple[str, str], Job]":
    """The untuned bases and every run, by regime and name."""
    from otr.commands.study import Job
    from otr.demo.regimes import LEARNING_RATES, REGIMES, SEEDS, write_demonstrations

    rates, seeds = (LEARNING_RATES[:1], SEEDS[:1]) if quick else (LEARNING_RATES, SEEDS)
    benchmarks = (*_BENCHMARKS, _VALIDATION)
    jobs = {}
    for regime in REGIMES:
        inside = folder / regime.name
        (inside / "data").mkdir(parents=True, exist_ok=True)
        jobs[regime.name, _UNTUNED] = Job(inside / _UNTUNED, benchmarks, model=regime.model)
        for seed in seeds:
            data = inside / "data" / f"seed-{seed}.jsonl"
            write_demonstrations(regime, seed, data)
            for rate in rates:
                for objective in _OBJECTIVES:
                    name = f"{objective}-{rate:g}-seed-{seed}"
                    run = _run(regime, objective, rate, seed, data, inside / name)
                    jobs[regime.name, name] = Job(inside / name, benchmarks, run=run)
    return jobs


def _run(regime: "Regime", objective: str, rate: float, seed: int, data: Path, folder: Path):
    from otr.demo.regimes import BATCH_SIZE, NUM_STEPS, data_section
    from otr.training.config import Run

    return Run.model_validate(
        {
            "model": regime.model,
            "data": data_section(data),
            "objective": {"name": objective},
            "training": {
                "learning_rate": rate,
                "max_steps": NUM_STEPS,
                "per_device_train_batch_size": BATCH_SIZE,
                "save_strategy": "no",
            },
            "samples": {"every_steps": 0},
            "output_dir": str(folder),
            "seed": seed,
        }
    )


def _do_all(jobs: "Sequence[Job]") -> None:
    from tqdm import tqdm

    from otr.commands.study import num_cores, run_jobs

    with tqdm(unit="run", dynamic_ncols=True, mininterval=0.2) as bar:

        def progress(num_done: int, num_all: int) -> None:
            if num_done == 0:
                kept = len(jobs) - num_all
                bar.reset(total=num_all)
                bar.set_description(f"runs ({kept} finished before)" if kept else "runs")
            bar.update(num_done - bar.n)

        run_jobs(jobs, num_processes=num_cores(), progress=progress)


def _compared(folder: Path, jobs: "dict[tuple[str, str], Job]") -> "list[Comparison]":
    from otr.demo.regimes import REGIMES
    from otr.evaluation.comparison import compare, read_run

    return [
        compare(
            regime.title,
            [
                read_run(job.folder)
                for (name, run), job in jobs.items()
                if name == regime.name and run != _UNTUNED
            ],
            benchmarks=_BENCHMARKS,
            validation=_VALIDATION,
            untuned=runs.read_json(folder / regime.name / _UNTUNED / runs.SCORES),
        )
        for regime in REGIMES
    ]


def _report(folder: Path, comparisons: "list[Comparison]") -> None:
    from otr.evaluation.table import table
    from otr.report.picture import draw_trade_off

    for comparison in comparisons:
        print("\n" + table(comparison), end="")
    runs.write_json(folder / "results.json", [each.as_json() for each in comparisons])
    _, picture = draw_trade_off([_panel(each) for each in comparisons], folder)
    print(
        "\nThese models are tiny: the tables say what the objectives do here, not what they will "
        f"do on yours.\nPicture: {picture}   numbers: {folder / 'results.json'}"
    )


def _panel(comparison: "Comparison") -> "Panel":
    from otr.report.picture import Cloud, Panel

    clouds = []
    for result in comparison.objectives:
        learned, retained = result.change[_LEARNED], result.change[_RETAINED]
        clouds.append(
            Cloud(
                label=result.label,
                learned=tuple(100 * value for value in learned.values),
                retained=tuple(100 * value for value in retained.values),
                learned_half_width=_points(learned.half_width),
                retained_half_width=_points(retained.half_width),
            )
        )
    return Panel(
        title=comparison.name, caption="\n".join(comparison.verdicts()), clouds=tuple(clouds)
    )


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _rebuild(folder: Path) -> int:
    from tqdm import tqdm

    from otr.demo import base_model_folder
    from otr.demo.pretraining import rebuild

    embedded = base_model_folder("demo")
    assert embedded is not None
    with tqdm(unit="step", dynamic_ncols=True) as bar:

        def progress(num_done: int, num_all: int, loss: float) -> None:
            bar.total = num_all
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(num_done - bar.n)

        made = rebuild(folder / "bases", progress)
    shipped = runs.read_json(embedded.parent / "hashes.json")
    for name, digest in made.items():
        same = "as shipped" if shipped.get(name) == digest else "differs from the shipped one"
        print(f"{name:8} {digest}  {same}")
    return 0
