"""Write the benchmark's tables into the README, between its two marks.

python -m benchmarks.readme [RESULTS.json …] [--readme README.md] [--check]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.table import markdown

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
_RESULTS = Path(__file__).parent / "results"


def replaced(readme: str, results: Sequence[dict[str, Any]]) -> str:
    """The README with its tables made anew.

    Raises: ValueError unless it has each mark once, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.find(BEGIN) > readme.find(END):
        raise ValueError(f"the README must have {BEGIN} and, after it, {END}, once each")
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    block = "\n".join(markdown(each) for each in results)
    return f"{before}{BEGIN}\n{block}{END}{after}"


def main(words: Sequence[str] | None = None) -> int:
    """Answers 1 if the README must change and `--check` was given, or if it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument(
        "results", nargs="*", type=Path, help="results to show (all of benchmarks/results)"
    )
    parser.add_argument("--readme", type=Path, default=Path("README.md"), metavar="FILE")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it would")
    arguments = parser.parse_args(words)
    files = arguments.results or [
        path for path in sorted(_RESULTS.glob("*.json")) if not path.stem.endswith("-quick")
    ]
    if not files:
        print("there are no results; run `python -m benchmarks` first", file=sys.stderr)
        return 1
    found = [json.loads(path.read_text("utf-8")) for path in files]
    readme = arguments.readme.read_text("utf-8")
    try:
        made = replaced(readme, found)
    except ValueError as error:
        print(f"{arguments.readme}: {error}", file=sys.stderr)
        return 1
    if made == readme:
        return 0
    if arguments.check:
        print(
            f"{arguments.readme} differs from the results; run `python -m benchmarks.readme`",
            file=sys.stderr,
        )
        return 1
    arguments.readme.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
