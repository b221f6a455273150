"""`python -m reliability kills` breaks things; each leaves its figures for docs/reliability.md, and
`grading` for docs/benchmarks.md."""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from evidence.files import write_or_check
from otr import runs
from reliability import benchmarks
from reliability.report import DOCUMENT, RESULTS, document


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kills = commands.add_parser("kills", help="kill training at random moments and go on with it")
    kills.add_argument("--kills", type=int, default=50, metavar="N")
    kills.add_argument("--inside", type=int, default=20, metavar="N", help="inside a save")
    kills.add_argument("--seed", type=int, default=0)
    fuzzing = commands.add_parser("fuzz", help="try random and damaged input")
    fuzzing.add_argument("--examples", type=int, default=500, metavar="N", help="of each kind")
    fuzzing.add_argument("--seed", type=int, default=0)
    fuzzing.add_argument(
        "--kind", action="append", default=[], help="only these; the others' figures stay"
    )
    soaking = commands.add_parser(
        "soak", help="a long run through `otr train`, its memory measured"
    )
    soaking.add_argument("--steps", type=int, default=10_000, metavar="N")
    soaking.add_argument("--save-steps", type=int, default=200, metavar="N")
    commands.add_parser("cases", help="count the tests of what must be refused")
    grading = commands.add_parser("grading", help="grade real references, said and changed")
    grading.add_argument("--data", type=Path, metavar="DIR", help="folders NAME/test.jsonl")
    report = commands.add_parser("report", help="write the documents from the committed figures")
    report.add_argument("--check", action="store_true", help="only say whether it is up to date")
    arguments = parser.parse_args()
    if arguments.command == "report":
        return max(
            write_or_check(
                path, text, check=arguments.check, command="python -m reliability report"
            )
            for path, text in (
                (DOCUMENT, document()),
                (benchmarks.DOCUMENT, benchmarks.document()),
            )
        )
    from otr.quiet import quiet_libraries

    quiet_libraries()
    RESULTS.mkdir(exist_ok=True)
    chosen = {"kills": _kills, "fuzz": _fuzz, "soak": _soak, "cases": _cases, "grading": _grading}
    return chosen[arguments.command](arguments)


def _kills(arguments: argparse.Namespace) -> int:
    from reliability.kills import survive

    # The killed leave theirs behind, which is then removed for them.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    with tempfile.TemporaryDirectory() as folder:
        outcome = survive(
            Path(folder), num_kills=arguments.kills, num_inside=arguments.inside,
            seed=arguments.seed,
        )  # fmt: skip
    print(
        f"{outcome.kills} times killed, {outcome.inside_a_save} of them inside a save; "
        f"{outcome.runs} runs went on to their end, {outcome.different} of them not as the "
        "unbroken one"
    )
    runs.write_json(RESULTS / "kills.json", outcome.as_json())
    return 1 if outcome.different else 0


def _grading(arguments: argparse.Namespace) -> int:
    from reliability.grading import DATA, timed, tried

    folder = arguments.data or DATA
    outcome = tried(folder) | {"ordinary": timed(folder)}
    print(
        f"{outcome['num_cases']} answers, {len(outcome['misses'])} graded otherwise than they "
        f"should be; {outcome['ordinary']['num']} ordinary ones in "
        f"{outcome['ordinary']['seconds']} s"
    )
    runs.write_json(RESULTS / "grading.json", outcome)
    return 0


def _fuzz(arguments: argparse.Namespace) -> int:
    from reliability.fuzz import fuzz

    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(
            Path(folder), arguments.examples, random_seed=arguments.seed, kinds=arguments.kind,
            say=partial(print, flush=True),
        )  # fmt: skip
    cases = {
        kind: {"tried": tried, "refused": found.refused[kind]}
        for kind, tried in found.tried.items()
    }
    kept = runs.read_json(RESULTS / "fuzz.json") if arguments.kind else {}
    runs.write_json(RESULTS / "fuzz.json", kept | cases)
    return 0


def _soak(arguments: argparse.Namespace) -> int:
    from reliability.soak import MOST_GROWTH_MB, soak

    with tempfile.TemporaryDirectory() as folder:
        soaked, _ = soak(
            Path(folder), steps=arguments.steps, save_steps=arguments.save_steps,
            say=partial(print, flush=True),
        )  # fmt: skip
    print(
        f"{soaked.steps:,} steps in {soaked.minutes:.0f} minutes; memory {soaked.memory_mb:.0f} MiB, "
        f"grown by {soaked.growth_mb:.1f} MiB"
    )
    runs.write_json(RESULTS / "soak.json", asdict(soaked))
    return 1 if soaked.growth_mb > MOST_GROWTH_MB else 0


def _cases(arguments: argparse.Namespace) -> int:
    from reliability.cases import collected, counted

    runs.write_json(RESULTS / "cases.json", counted(collected()))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; no figures were written")
