"""The notebook runs as it stands, without a network, and is small."""

from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="pip install 'otr[docs]'")

from website import ROOT
from website.notebook import executed, notebook_page
from website.site import NOTEBOOK

pytestmark = pytest.mark.filterwarnings("ignore")


def said(cell: dict) -> str:
    return "".join(
        output["text"] if output["output_type"] == "stream" and output["name"] == "stdout" else ""
        for output in cell["outputs"]
    )


@pytest.mark.slow
def test_the_notebook_runs_and_compares_what_it_trained(tmp_path: Path) -> None:
    notebook = executed(ROOT / NOTEBOOK, tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [said(cell) for cell in code]
    (columns,) = (text for text in outputs if text.startswith("objective"))
    rows = [line.split() for line in columns.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [
        ("sft", "1"), ("sft", "20"), ("otr", "1"), ("otr", "20"),
    ]  # fmt: skip
    # Both start from the same model and rows, and SFT's loss is NLL itself.
    assert rows[0][3] == rows[2][3] and rows[0][2] == rows[0][3]
    assert rows[0][5] == "1.000" and float(rows[2][5]) < 1
    (scores,) = (text for text in outputs if text.startswith("model"))
    assert [line.split()[:2] for line in scores.splitlines()[1:]] == [
        [model, task] for model in ("untuned", "sft", "otr") for task in ("in_domain", "retention")
    ]
    (page,) = (
        output["data"]["text/html"]
        for cell in code
        for output in cell["outputs"]
        if "text/html" in output.get("data", {})
    )
    assert "What each objective teaches" in page


def test_the_committed_notebook_is_small_and_has_what_it_printed() -> None:
    assert (ROOT / NOTEBOOK).stat().st_size < 40_000
    page = notebook_page(ROOT / NOTEBOOK)
    assert page.startswith("# First steps in Python\n")
    assert "\n```text\nobjective  step" in page
    assert "<iframe" not in page.split("```text")[-1]
