"""The page from study and run folders: what stands in it, and that nothing in it runs."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from otr import runs
from otr.errors import UserError
from otr.report.drawing import Figure
from otr.report.report import clean, write_report
from tests.report.conftest import HOSTILE


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


def test_runs_without_a_study_have_the_scores_that_were_evaluated(
    study: Path, tmp_path: Path
) -> None:
    """Also scores whose model is no run's, and what lm-evaluation-harness does not call right."""
    right = {"accuracy": 0.625, "n": 40, "interval_95": [0.4, 0.75], "prompt": "base"}
    runs.write_json(study / "sft-0" / runs.SCORES, {"gsm8k": right})
    folder = tmp_path / "scores"
    folder.mkdir()
    of_text = {"n": 7, "metrics": {"perplexity": 12.3456}}
    runs.write_json(folder / runs.SCORES, {"lm-eval:text": of_text, HOSTILE: right})
    write_report([study / "sft-0", study / "otr-1", folder], study / "runs.html")
    page = (study / "runs.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "62.5 (40.0 to 75.0), n = 40" in page and "perplexity 12.35, n = 7" in page
    assert page.count('id="scores"') == 1 and "<script>alert" not in page
    write_report([study / "otr-1"], study / "runs.html")
    assert 'id="scores"' not in (study / "runs.html").read_text()
    runs.write_json(study / "sft-0" / runs.SCORES, {"gsm8k": right | {"accuracy": "much"}})
    with pytest.raises(UserError, match="scores.json: gsm8k.accuracy"):
        write_report([study / "sft-0"], study / "runs.html")


def test_a_study_that_is_not_finished_shows_the_runs_that_have_trained(study: Path) -> None:
    (study / "results.json").unlink()
    (study / "study.yaml").write_text("{}")
    (study / "untuned").mkdir()
    write_report([study], study / "half.html")
    page = (study / "half.html").read_text()
    assert "study, not finished: no verdict yet" in page and "otr-6" in page
    assert "Verdict" not in page and "untuned" not in page
    for path in study.glob("*/metrics.jsonl"):
        path.unlink()
    with pytest.raises(UserError, match="no run of this study has trained yet; `otr compare`"):
        write_report([study], study / "none.html")
    assert not (study / "none.html").exists()


def test_runs_of_one_name_in_different_places_are_all_shown(study: Path) -> None:
    (study / "other").mkdir()
    (study / "otr-1").rename(study / "other/sft-0")
    write_report([study / "sft-0", study / "other/sft-0"], study / "runs.html")
    assert "other/sft-0" in (study / "runs.html").read_text()


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
    assert clean("a\n\n\nb") == "a\n\n\nb"
    assert clean("a\n\n \n\t\n" + "\n" * 1020 + "b") == "a\n… 1,024 line breaks …\nb"


def test_a_formula_in_a_name_is_quoted_in_the_csv() -> None:
    figure = Figure(
        name="x", title="", svg=Markup(""), header=("method", "value"),
        rows=(("=HYPERLINK(1)", -1.5), ("@SUM", 2), ("OTR", 3)), places=(),
    )  # fmt: skip
    assert figure.csv().splitlines() == [
        "method,value", "'=HYPERLINK(1),-1.5", "'@SUM,2", "OTR,3",
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["model", "methods", "benchmarks", "verdicts", "untuned"])
def test_results_that_lack_a_field_are_refused(study: Path, tmp_path: Path, field: str) -> None:
    results = json.loads((study / "results.json").read_text())
    del results[field]
    (study / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"results\.json"):
        write_report([study], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
