"""`python -m families run` tries every architecture and writes docs/models.md; `report` writes it anew."""

import argparse
import sys
import time

from evidence.files import write_or_check
from families.report import DOCUMENT, RESULTS, document
from otr import runs


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m families", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="try every architecture")
    run.add_argument("names", nargs="*", metavar="MODEL_TYPE", help="only these, written nowhere")
    report = commands.add_parser("report", help=f"write {DOCUMENT} from the committed results")
    report.add_argument("--check", action="store_true", help="only say whether it is up to date")
    arguments = parser.parse_args()
    if arguments.command == "report":
        return write_or_check(
            DOCUMENT, document(), check=arguments.check, command="python -m families report"
        )
    return _run(arguments.names)


def _run(names: list[str]) -> int:
    from otr.quiet import quiet_libraries

    quiet_libraries()
    from families.architectures import architectures
    from families.matrix import DIFFERS, as_json, tried

    known = architectures()
    unknown = set(names) - {each.model_type for each in known}
    if unknown:
        print(f"transformers lists no model type {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    outcomes = []
    start = time.monotonic()
    for each in tried([each for each in known if not names or each.model_type in names]):
        outcomes.append(each)
        seconds = time.monotonic() - start
        print(f"{seconds:6.1f} s  {each.model_type}: {each.status} {each.reason}", flush=True)
    if not names:
        runs.write_json(RESULTS, as_json(outcomes))
        runs.write_text(DOCUMENT, document())
    return int(any(each.status == DIFFERS for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
