"""The committed figures of grading, and the page made of them."""

from otr import runs
from reliability import benchmarks
from reliability.grading import NAMES
from reliability.report import RESULTS

GRADING = runs.read_json(RESULTS / "grading.json")


def share(side: str, name: str | None = None) -> float:
    """Of the answers of one side, and one data set, how many are graded as they should be."""
    counts = [
        count
        for kind, count in GRADING["counts"][side].items()
        if name is None or kind.startswith(f"{name}: ")
    ]
    return sum(count["right"] for count in counts) / sum(count["cases"] for count in counts)


def test_real_references_are_right_and_changed_ones_wrong() -> None:
    for name in NAMES:
        assert share("said", name) >= (1 if name in ("gsm8k", "amc23") else 0.97), name
    assert share("changed") >= 0.99


def test_every_miss_has_its_cause_in_the_page() -> None:
    assert "not looked into" not in benchmarks.document()


def test_ten_thousand_answers_take_less_than_three_minutes() -> None:
    assert GRADING["ordinary"]["num"] == 10_000
    assert GRADING["ordinary"]["num_workers"] == 2
    assert GRADING["ordinary"]["seconds"] < 180


def test_the_page_is_made_of_the_committed_figures() -> None:
    assert benchmarks.DOCUMENT.read_text(encoding="utf-8") == benchmarks.document()
