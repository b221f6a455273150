"""docs/data.md shows what comes out."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from otr.demo.tokenizer import demo_tokenizer
from otr.rows import read_rows
from otr.training.audit import audit, example_lines
from otr.training.config import Data
from otr.training.tokens import tokenized_dataset

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```\n```yaml\n(.*?)```\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("row, settings, shown", EXAMPLES)
def test_each_form_is_learned_as_the_page_shows(
    row: str, settings: str, shown: str, named: bool, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(row, encoding="utf-8")
    path = str(tmp_path / "rows.jsonl")
    section = YAML(typ="safe").load(settings)["data"] if named else {}
    tokenizer = demo_tokenizer()
    dataset, report = tokenized_dataset(
        read_rows(path), Data(**{**section, "train": path}), tokenizer
    )
    found = audit(dataset, report, tokenizer)
    assert found.problems == ()
    assert "\n".join(example_lines(found.first)) + "\n" == shown


def test_the_page_has_every_form() -> None:
    assert len(EXAMPLES) == 5 == PAGE.count("```json")
