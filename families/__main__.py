"""`python -m families run` tries every architecture; `report` writes docs/models.md from it."""

import argparse
import sys


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m families", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="try every architecture, or those named")
    run.add_argument(
        "names", nargs="*", metavar="MODEL_TYPE", help="only these; nothing is written"
    )
    arguments = parser.parse_args()
    return _run(arguments.names)


def _run(names: list[str]) -> int:
    import warnings

    from otr.quiet import quiet_libraries

    quiet_libraries()
    warnings.filterwarnings("ignore")
    from collections import Counter

    from families.architectures import architectures
    from families.matrix import run

    outcomes = run([each for each in architectures() if not names or each.model_type in names])
    print(Counter(each.status for each in outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
