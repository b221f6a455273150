"""`otr report`: one HTML page from run and study folders."""

import argparse
from pathlib import Path

_EXAMPLE = """example:
  otr report studies/first -o report.html
  otr report runs/sft runs/otr -o report.html

The page needs no network and no scripts. Study folders show verdicts and
scores; run folders show curves, cost, answers and what their configurations
differ in."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="of a run or a study"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="the page (report.html)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page, and say where it lies."""
    from otr.report.report import write_report

    write_report(arguments.folders, arguments.output)
    print(f"report: {arguments.output}")
    return 0
