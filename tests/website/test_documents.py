"""Documents: their links lead somewhere, and what they tell users to type is what the code takes."""

import re
from pathlib import Path

import pytest

pytest.importorskip("griffe", reason="pip install 'otr[docs]'")

from otr.commands.parser import COMMANDS
from website import ROOT
from website.blocks import blocks
from website.claims import wrong_claims, wrong_line
from website.commands import parsers
from website.links import dead_in_document, documents
from website.navigation import navigation

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "document", documents(), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_links_paths_commands_and_files_of_a_document_hold(document: Path) -> None:
    assert dead_in_document(document) + wrong_claims(document) == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("otr train recipe.yaml --restrat", "--restrat"),
        ("otr train recipe.yaml objective.num_rolouts=3", "num_rolouts"),
        ("otr check recipe.yaml training.learning_rat=1e-4", "learning_rate"),
        ("otr compare study.yaml sedes='[1]'", "did you mean 'seeds'"),
        ("otr eval --limit 3 --benchmark demo", "model"),
        ("otr tarin recipe.yaml", "no command"),
        ("A=1 otr report", "FOLDER"),
        ("torchrun --nproc-per-node 4 -m otr.commands.main train", "recipe"),
        ("make demmo", "demmo"),
    ],
)
def test_a_command_that_would_be_refused_is_found(line: str, complaint: str) -> None:
    (found,) = wrong_line(line)
    assert complaint in found


@pytest.mark.parametrize(
    "line",
    [
        "otr train recipe.yaml objective='{name: sft}' training.max_steps=3  # a comment",
        "otr report FOLDER … -o report.html",
        "otr COMMAND --help",
        "otr eval --help",
        "make demo GPU_PYTHON=python3",
        "pip install otr",
    ],
)
def test_a_right_command_is_let_alone(line: str) -> None:
    assert wrong_line(line) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_a_command_s_help_would_be_taken(command: str) -> None:
    lines = (parsers()[command].epilog or "").splitlines()
    examples = [line.strip() for line in lines if line.startswith("  otr ")]
    assert examples and [each for line in examples for each in wrong_line(line)] == []


def test_the_guide_for_contributors_lists_the_targets_that_there_are() -> None:
    guide, makefile = ((ROOT / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "Makefile"))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert sorted(re.findall(r"^\| `make ([\w-]+)` \|", guide, re.MULTILINE)) == sorted(
        phony.split()
    )
    rules = " ".join(re.findall(r"^([\w -]+):(?!=)", makefile, re.MULTILINE)).split()
    assert sorted(rules) == sorted(phony.split())


def test_dead_links_wrong_files_and_wrong_spans_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n[a](other.md) [b](#a-page) [c](#b-page) [d](https://x.test) `src/otr/gone.py`\n\n"
        "`otr eval --bench` `otr train`\n\n"
        "```yaml\nobjective: {name: otrr}\n```\n\n```yaml\nobjectives: [{name: sft}]\nsede: [0]\n```\n\n"
        "```yaml\ntraining: {max_step: 3}\n```\n\n```\n[not](a-link.md)\n```\n"
    )
    assert dead_in_document(page) == [
        "page.md: other.md: there is no such file",
        "page.md: #b-page: there is no such heading",
        "page.md: `src/otr/gone.py`: there is no such file",
    ]
    first, second, third, last = wrong_claims(page)
    assert "line 7" in first and "'otr'" in first
    assert "line 11" in second and "sede" in second
    assert "line 16" in third and "max_steps" in third
    assert last == "page.md: `otr eval --bench`: there is no --bench"


def test_marks_say_what_is_run_and_what_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: a.yaml -->\n```yaml\nx: 1\n```\n\n<!-- run -->\n```\nls\n```\n"
        "<!-- run: long -->\n```python\nprint()\n```\n\n```\nrm -r /\n```\n"
    )
    assert [(each.file, each.is_run, each.text) for each in blocks(page)] == [
        ("a.yaml", False, "x: 1\n"),
        (None, True, "ls\n"),
        (None, True, "print()\n"),
        (None, False, "rm -r /\n"),
    ]


def test_pages_are_picked_up_and_missing_ones_left_out() -> None:
    pages = ["index.md", "theory.md", "recipes/index.md", "recipes/b.md", "recipes/a.md", "new.md"]
    assert navigation(pages) == [
        {"Start": [{"Overview": "index.md"}]},
        {"Guides": [{"Recipes": ["recipes/index.md", "recipes/a.md", "recipes/b.md"]}, "new.md"]},
        {"Findings": ["theory.md"]},
    ]
