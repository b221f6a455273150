"""`python -m evidence run` repeats the committed study; `report` writes docs/results.md from it; `demo`
makes the README's table and picture of `otr demo`."""

import argparse
import sys
from pathlib import Path

from evidence import demo
from evidence.files import RESULTS, write_or_check, write_results
from evidence.plan import CASES, study
from evidence.report import DOCUMENT, document


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run what is missing of the study")
    run.add_argument("names", nargs="*", metavar="REGIME", help="only these")
    run.add_argument("--output", type=Path, default=Path("runs/evidence"), metavar="DIR")
    run.add_argument("--jobs", type=int, metavar="N", help="runs at once")
    report = commands.add_parser("report", help=f"write {DOCUMENT} from the committed files")
    report.add_argument("--check", action="store_true", help="only say whether it is up to date")
    shown = commands.add_parser("demo", help="make the README's table and picture of the demo")
    shown.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="take the answers from this folder of `otr demo` first, such as runs/demo",
    )
    shown.add_argument("--check", action="store_true", help="only say whether they are up to date")
    arguments = parser.parse_args()
    if arguments.command == "run":
        return _run(arguments.names, arguments.output, arguments.jobs)
    if arguments.command == "demo":
        if arguments.check:
            return demo.check()
        if arguments.folder is not None:
            demo.keep(arguments.folder)
        demo.write()
        return 0
    return write_or_check(
        DOCUMENT, document(), check=arguments.check, command="python -m evidence report"
    )


def _run(names: list[str], output: Path, jobs: int | None) -> int:
    from otr.quiet import quiet_libraries
    from otr.study.pipeline import run_studies

    quiet_libraries()
    for case in CASES:
        if names and case.regime.name not in names:
            continue
        (comparison,) = run_studies([study(case, output)], num_processes=jobs)
        write_results(RESULTS / f"{case.regime.name}.jsonl", comparison.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
