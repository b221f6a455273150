"""`otr demo`: compare SFT, DFT and OTR on an embedded model."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from otr.errors import UserError
from otr.terminal import wrapped

if TYPE_CHECKING:
    from otr.demo.regimes import Regime
    from otr.evaluation.comparison import Comparison
    from otr.study.file import Study

_EXAMPLE = """example:
  otr demo
  otr demo --quick

Fine-tunes small embedded models on generated demonstrations under three
regimes, with each objective, two learning rates and three seeds, and prints
what came out, also where OTR loses. If it is stopped, the same command resumes
it."""

_OBJECTIVES = ("sft", "dft", "otr")


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
        help="one seed and learning rate, in about a minute: scores, no verdict",
    )
    parser.add_argument(
        "--rebuild-base",
        action="store_true",
        help="make the embedded models anew in the output folder, and compare their hashes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, print the tables, write the report and the picture."""
    from otr.quiet import quiet_libraries

    quiet_libraries()
    if arguments.rebuild_base:
        return _rebuild(arguments.output)
    from otr.demo.regimes import REGIMES
    from otr.study.pipeline import run_studies

    folder = arguments.output / "quick" if arguments.quick else arguments.output
    start = time.monotonic()
    studies = [_study(regime, folder, arguments.quick) for regime in REGIMES]
    comparisons = run_studies(studies)
    _report(folder, [Path(study.output_dir) for study in studies], comparisons)
    if arguments.quick:
        print("`otr demo` has three seeds and gives verdicts, in about five minutes.")
    print(f"({time.monotonic() - start:.0f} s)", file=sys.stderr)
    return 1 if any(comparison.failed for comparison in comparisons) else 0


def _study(regime: "Regime", folder: Path, quick: bool) -> "Study":
    """The study of a regime, its demonstrations written."""
    from otr.demo.regimes import LEARNING_RATES, SEEDS
    from otr.study.embedded import embedded_study

    rates, seeds = (LEARNING_RATES[:1], SEEDS[:1]) if quick else (LEARNING_RATES, SEEDS)
    try:
        return embedded_study(
            regime,
            folder,
            objectives=[{"name": name} for name in _OBJECTIVES],
            learning_rates=list(rates),
            seeds=list(seeds),
        )
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be made: {error.strerror}") from None


def _report(folder: Path, studies: list[Path], comparisons: "list[Comparison]") -> None:
    from otr import runs
    from otr.evaluation.table import table
    from otr.report.picture import draw_trade_off, panel_of
    from otr.report.report import write_report

    for comparison in comparisons:
        print("\n" + table(comparison), end="")
    _, picture = draw_trade_off([panel_of(each.as_json()) for each in comparisons], folder)
    write_report(studies, folder / runs.REPORT)
    last = [
        "These models are tiny: the tables say what the objectives do here, not what they will do on "
        "yours.",
        f"Report: {folder / runs.REPORT}   picture: {picture}",
    ]
    print("\n".join(["", *wrapped(last)]))


def _rebuild(folder: Path) -> int:
    from tqdm import tqdm

    from otr import runs
    from otr.demo import base_model_folder
    from otr.demo.pretraining import HASHES, rebuild

    embedded = base_model_folder("demo")
    assert embedded is not None
    with tqdm(unit="step", dynamic_ncols=True) as bar:

        def progress(num_done: int, num_all: int, loss: float) -> None:
            bar.total = num_all
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(num_done - bar.n)

        made = rebuild(folder / "bases", progress)
    shipped = runs.read_json(embedded.parent / HASHES)
    for name, digest in made.items():
        same = "as shipped" if shipped.get(name) == digest else "differs from the shipped one"
        print(f"{name:8} {digest}  {same}")
    return 0
