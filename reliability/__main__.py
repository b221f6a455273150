"""`python -m reliability kills` breaks things; each leaves its figures for docs/reliability.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from otr import runs

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kills = commands.add_parser("kills", help="kill training at random moments and go on with it")
    kills.add_argument("--kills", type=int, default=50, metavar="N")
    kills.add_argument("--inside", type=int, default=20, metavar="N", help="inside a save")
    kills.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return _kills(arguments)


def _kills(arguments: argparse.Namespace) -> int:
    from otr.quiet import quiet_libraries
    from reliability.kills import survive

    quiet_libraries()
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
    RESULTS.mkdir(exist_ok=True)
    runs.write_json(RESULTS / "kills.json", outcome.as_json())
    return 1 if outcome.different else 0


if __name__ == "__main__":
    sys.exit(main())
