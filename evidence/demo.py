"""What `otr demo` found, as the README has it: its table and its picture, from committed answers."""

import sys
from pathlib import Path
from typing import Any

from PIL import Image

from evidence.files import RESULTS, compared_again, read_results, write_results
from otr import runs
from otr.demo.regimes import REGIMES
from otr.formats import points
from otr.report.picture import HASH, Panel, draw_trade_off, numbers_hash, panel_of

ROOT = Path(__file__).parents[1]
README, PICTURE = ROOT / "README.md", ROOT / "docs" / "learning-and-forgetting.png"
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
COMMAND = "python -m evidence demo"


def keep(folder: Path) -> None:
    """Take the runs' answers from `otr demo`'s folder."""
    for regime in REGIMES:
        results = runs.read_json(folder / regime.name / runs.RESULTS)
        write_results(RESULTS / f"{_name(regime.name)}.jsonl", results)


def write() -> None:
    """Make the README's table and the picture again from the committed answers."""
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    svg, _ = draw_trade_off(panels(), PICTURE.parent, name=PICTURE.stem)
    # A page has the PNG; the other would only be a second file to keep.
    svg.unlink()


def stale() -> list[str]:
    """Which of the README and the picture are not what the committed answers say."""
    found = []
    readme = README.read_text(encoding="utf-8")
    if with_table(readme) != readme:
        found.append(README.name)
    with Image.open(PICTURE) as picture:
        if picture.info.get(HASH) != numbers_hash(panels()):
            found.append(str(PICTURE.relative_to(ROOT)))
    return found


def check() -> int:
    """Say what is out of date; the exit status."""
    found = stale()
    for name in found:
        print(f"{name} is out of date: {COMMAND}", file=sys.stderr)
    return 1 if found else 0


def panels() -> list[Panel]:
    """What is drawn, by today's statistics."""
    return [panel_of(each) for each in _studies()]


def with_table(readme: str) -> str:
    """The README with its table of the demo made again.

    Raises: ValueError unless it has each mark once, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.find(BEGIN) > readme.find(END):
        raise ValueError(f"the README must have {BEGIN} and, after it, {END}, once each")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{_table()}{END}{rest.partition(END)[2]}"


def _table() -> str:
    studies = _studies()
    labels = [method["label"] for method in studies[0]["methods"]]
    rows = [["regime", "untuned", *labels]]
    for each in studies:
        names = each["benchmarks"]["in_domain"]
        before = sum(each["untuned"][name]["accuracy"] for name in names) / len(names)
        scores = [points(method["scores"]["in_domain"]["mean"]) for method in each["methods"]]
        rows.append([each["title"], points(before), *scores])
    lines = ["| " + " | ".join(row) + " |\n" for row in rows]
    return "".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1) + "\n", *lines[1:]])


def _studies() -> list[dict[str, Any]]:
    return [compared_again(*read_results(_name(regime.name))) for regime in REGIMES]


def _name(regime: str) -> str:
    return f"demo-{regime}"
