"""`python -m benchmarks.scaling measure` holds the model of memory and time against training on
this machine; `… report` writes docs/scaling.md from that and from the model."""

import argparse
import sys
from pathlib import Path

from benchmarks.machine import slug
from benchmarks.scaling.report import DOCUMENT, RESULTS, document
from evidence.files import write_or_check
from otr import runs


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="train small models for a few steps")
    measure.add_argument("--here", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    report = commands.add_parser("report", help=f"write {DOCUMENT.name} from the committed figures")
    report.add_argument("--check", action="store_true", help="only say whether it is up to date")
    arguments = parser.parse_args()
    if arguments.command == "report":
        command = "python -m benchmarks.scaling report"
        return write_or_check(DOCUMENT, document(), check=arguments.check, command=command)
    from benchmarks.machine import device_name
    from benchmarks.scaling.measure import measured, measured_apart

    if arguments.here is None:
        RESULTS.mkdir(exist_ok=True)
        return measured_apart(RESULTS / f"{slug(device_name('cpu'))}.json")
    for results in measured():
        runs.write_json(arguments.here, results)
    print(arguments.here)
    return 0


if __name__ == "__main__":
    sys.exit(main())
