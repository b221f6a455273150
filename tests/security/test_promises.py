"""SECURITY.md and docs/reliability.md name tests, and all of them are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("SECURITY.md", "docs/reliability.md")
_NAMED = re.compile(r"`(tests/[\w/]+(?:\.py(?:::(\w+))?)?)`")


def rows(page: str) -> list[list[str]]:
    """The cells of every row of a page's tables, headers and rules left out."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {number for number, row in enumerate(cells) if set("".join(row)) <= set("-")}
    return [row for n, row in enumerate(cells) if n not in rules and n + 1 not in rules]


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = list(_NAMED.finditer((ROOT / page).read_text()))
    assert len(named) >= 10
    for match in named:
        path = ROOT / match[1].partition("::")[0]
        assert path.exists(), match[1]
        if match[2]:
            functions = {
                node.name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.FunctionDef)
            }
            assert match[2] in functions, match[1]


def test_every_threat_and_every_pain_names_its_test() -> None:
    # What a program in the sandbox cannot do has four cells; test_sandbox.py looks at these.
    threats = [row for row in rows("SECURITY.md") if len(row) != 4]
    pains = [row for row in rows("docs/reliability.md") if row[0].split(".")[0].isdigit()]
    assert len(threats) >= 12
    assert [int(row[0].split(".")[0]) for row in pains if "." in row[0]] == list(range(1, 18))
    for row in threats:
        assert len(row) == 3 and _NAMED.search(row[2]), row
    for row in (row for row in pains if "." in row[0]):
        # Its tests stand in a comment.
        assert len(row) == 2 and _NAMED.search(row[1].partition("<!--")[2]), row
