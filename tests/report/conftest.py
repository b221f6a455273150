"""A page of the browser that complains, and a study whose every text is hostile."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otr.evaluation.comparison import compare
from otr.objectives import DFT, OTR, SFT, options_of

HOSTILE = "</script><img src=x onerror=alert(1)>\u202egnp.exe \U0001f600 \x00 " + "x" * 1_000_000
BENCHMARKS = {"in_domain": ["demo/in_domain"], "out_of_domain": [], "retention": ["demo/retention"]}
NAMES = ["demo/in_domain", "demo/retention", "demo/validation"]


@pytest.fixture
def visit_file(browser: Any) -> Iterator[Any]:
    """Opens a file in a new page, and at the end of the test asks that nothing was loaded, and
    nothing complained."""
    complaints: list[str] = []
    contexts = []

    def opened(path: Path, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        shown = contexts[-1].new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("dialog", lambda dialog: complaints.append(dialog.message))
        shown.on(
            "request",
            lambda request: (
                complaints.append(request.url) if request.url != path.as_uri() else None
            ),
        )
        shown.goto(path.as_uri())
        return shown

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def write_run(
    folder: Path, objective: dict[str, Any], seed: int, share: float, rate: float = 1e-3
) -> dict[str, Any]:
    """A trained and scored run; its entry in results.json."""
    folder.mkdir(parents=True)
    config = {"objective": objective, "training": {"learning_rate": rate}, "seed": seed}
    (folder / "config.yaml").write_text(json.dumps(config))
    rows = [
        {"step": step, "seconds": step / 10, "loss": 1 / step, "nll": 2 / step, "grad_norm": None}
        for step in range(1, 501)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = {
        "benchmark": "demo/in_domain",
        "id": "demo/in_domain/0",
        "prompt": HOSTILE,
        "output": HOSTILE if seed == 0 else HOSTILE[:90],
        "reference": "4",
        "correct": share > 0.5,
    }
    (folder / "answers.jsonl").write_text(json.dumps(answer) + "\n")
    (folder / "cost.json").write_text(json.dumps({"seconds": 3.25, "head_share": None}))
    correct = "".join("1" if (7 * n + seed) % 40 < 40 * share else "0" for n in range(40))
    scores = {name: {"accuracy": share, "n": 40, "correct": correct} for name in NAMES}
    return {
        "run": folder.name,
        "objective": objective,
        "learning_rate": rate,
        "seed": seed,
        "scores": scores,
    }


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of three methods and seven seeds; one more run failed with hostile words."""
    folder, rows = tmp_path / "study", []
    for number, objective in enumerate((SFT(), DFT(), OTR())):
        for seed in range(7):
            run = folder / f"{objective.name}-{seed}"
            rows.append(write_run(run, options_of(objective), seed, 0.4 + 0.2 * number))
        slower = folder / f"{objective.name}-slower"
        rows.append(write_run(slower, options_of(objective), 0, 0.1, 1e-4))
    failed = {
        "run": "otr-7",
        "objective": options_of(OTR()),
        "learning_rate": 1e-3,
        "seed": 7,
        "error": HOSTILE,
    }
    untuned = {name: {"correct": "01" * 20} for name in NAMES}
    comparison = compare(
        "study", HOSTILE[:60], rows, [failed],
        model="demo", budget={"steps": 3}, benchmarks=BENCHMARKS,
        validation="demo/validation", untuned=untuned,
    )  # fmt: skip
    (folder / "results.json").write_text(json.dumps(comparison.as_json()))
    return folder
