"""A short version of `make fuzz`, and the page of figures."""

from pathlib import Path

import pytest

from otr import runs
from reliability.cases import counted
from reliability.fuzz import fuzz
from reliability.report import DOCUMENT, RESULTS, document


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_and_damaged_input_is_used_or_refused(tmp_path: Path) -> None:
    found = fuzz(tmp_path, 12)
    assert all(count >= 12 for count in found.tried.values()) and len(found.tried) == 10
    for kind, tried in found.tried.items():
        if kind != "checkpoints":
            assert 0 < found.refused[kind] < tried, kind


def test_no_more_cases_are_counted_than_there_are(request: pytest.FixtureRequest) -> None:
    there = counted([item.nodeid for item in request.session.items])
    if not all(there.values()):
        pytest.skip("needs all tests to be collected, as `make test` does")
    for place, number in runs.read_json(RESULTS / "cases.json").items():
        assert 10 < number <= there[place], place


def test_the_page_is_what_the_figures_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()
