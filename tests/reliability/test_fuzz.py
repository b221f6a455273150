"""A short version of `make fuzz`, and the page of figures."""

from pathlib import Path

import pytest

from reliability.fuzz import fuzz
from reliability.report import DOCUMENT, document


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_and_damaged_input_is_used_or_refused(tmp_path: Path) -> None:
    found = fuzz(tmp_path, 25)
    assert all(count >= 25 for count in found.tried.values()) and len(found.tried) == 6
    for kind, tried in found.tried.items():
        if kind != "checkpoints":
            assert 0 < found.refused[kind] < tried, kind


def test_the_page_is_what_the_figures_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()
