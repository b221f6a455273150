"""The table of recipes, and whether they fit what their heads name."""

import pytest

from benchmarks.recipes import BEGIN, DOCUMENT, END, recipes, table

pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_recipe_fits_the_gpu_that_its_head_names() -> None:
    planned = {each.name: each.planned_gb() for each in recipes() if each.gpu_gb is not None}
    assert len(planned) > 10
    assert [each.name for each in recipes() if not each.fits] == []
    # The weights alone of a model in float32 with AdamW's states take 16 bytes each.
    assert planned["paper/qwen2.5-3b.yaml"] > 16 * 3.09


def test_the_table_is_what_the_program_writes() -> None:
    assert DOCUMENT.read_text().split(BEGIN)[1].split(END)[0] == table()
