"""The page from study and run folders: what stands in it, and that nothing in it runs."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from otr.errors import UserError
from otr.evaluation.comparison import compare
from otr.objectives import DFT, OTR, SFT, options_of
from otr.report.report import clean, write_report

HOSTILE = "</script><img src=x onerror=alert(1)>\u202egnp.exe \U0001f600 \x00 " + "x" * 1_000_000
BENCHMARKS = {"in_domain": ["demo/in_domain"], "out_of_domain": [], "retention": ["demo/retention"]}
NAMES = ["demo/in_domain", "demo/retention", "demo/validation"]


def write_run(folder: Path, objective: dict[str, Any], seed: int, share: float) -> dict[str, Any]:
    """A trained and scored run; its entry in results.json."""
    folder.mkdir(parents=True)
    config = {"objective": objective, "training": {"learning_rate": 1e-3}, "seed": seed}
    (folder / "config.yaml").write_text(json.dumps(config))
    rows = [
        {"step": step, "seconds": step / 10, "loss": 1 / step, "nll": 2 / step, "grad_norm": None}
        for step in range(1, 2001)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = {
        "benchmark": "demo/in_domain",
        "id": "demo/in_domain/0",
        "prompt": HOSTILE,
        "output": HOSTILE,
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
        "learning_rate": 1e-3,
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


class Tags(HTMLParser):
    """The elements of a page, their attributes and the text outside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_verdicts_scores_failures_and_costs_are_in_the_page(study: Path) -> None:
    write_report([study], study / "report.html")
    page = (study / "report.html").read_text()
    results = json.loads((study / "results.json").read_text())
    for words in (*results["verdicts"], "otr-7", "3.25", "Learning against forgetting"):
        assert words in page
    assert page.index(results["verdicts"][0]) < page.index("<svg")
    assert f"{100 * results['methods'][2]['scores']['in_domain']['mean']:.1f}" in page


def test_hostile_text_stays_text_and_nothing_is_loaded(study: Path) -> None:
    write_report([study], study / "report.html")
    page = (study / "report.html").read_text()
    assert len(page) < 5_000_000
    tags = Tags(page).found
    assert [tag for tag, _ in tags].count("script") == 1
    assert not any(tag in ("img", "iframe", "link", "object") for tag, _ in tags)
    for _, attributes in tags:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("href", "#")).startswith(("#", "data:text/csv"))
    assert "\u202e" not in page and "\x00" not in page
    (policy,) = [a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "unsafe" not in policy and "default-src 'none'" in policy


def test_ids_are_there_once_also_with_two_studies(study: Path) -> None:
    write_report([study, study], study / "report.html")
    tags = Tags((study / "report.html").read_text()).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_runs_without_a_study_have_curves_and_differences_but_no_verdict(study: Path) -> None:
    write_report([study / "sft-0", study / "otr-1"], study / "runs.html")
    page = (study / "runs.html").read_text()
    assert "Verdict" not in page and "loss against seconds" in page
    assert "objective.num_rollouts" in page and "sft-0" in page


def test_other_folders_are_refused_and_nothing_is_written(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run folder"):
        write_report([tmp_path], tmp_path / "report.html")
    (study / "results.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        write_report([study], tmp_path / "report.html")
    (study / "results.json").write_text("{}")
    with pytest.raises(UserError, match="otr compare writes it anew"):
        write_report([study], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_long_and_invisible_text_is_cut_and_made_visible() -> None:
    assert clean("a\u202eb\x07\nc") == "a\\u202eb\\x07\nc"
    assert clean("x" * 50, 10) == "x" * 10 + " … (50 characters in all)"
