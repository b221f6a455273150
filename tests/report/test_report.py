"""The page from study and run folders: what stands in it, and that nothing in it runs."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from otr import runs
from otr.errors import UserError
from otr.report.drawing import Figure
from otr.report.parts import clean
from otr.report.report import write_report
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


def test_the_first_table_says_who_is_ahead_by_how_much(study: Path) -> None:
    write_report([study], study / "report.html")
    page = (study / "report.html").read_text()
    methods = json.loads((study / "results.json").read_text())["methods"]
    table = page[page.index('<table class="verdict') : page.index("</table>")]
    assert page.index(table) < page.index("<svg")
    for method in methods[1:]:
        difference = method["difference"]["in_domain"]
        assert difference["distinguishable"]
        low, high = (f"+{100 * end:.1f}" for end in difference["interval_95"])
        assert f">ahead +{100 * difference['mean']:.1f}<" in table and f"({low} to {high})" in table
    assert f">{100 * methods[0]['scores']['in_domain']['mean']:.1f}<" in table
    assert ">untuned<" in table.replace("<bdi>", "").replace("</bdi>", "") and ">50.0<" in table


def test_a_page_opens_with_what_beats_the_untuned_model(study: Path) -> None:
    write_report([study], study / "report.html")
    page = (study / "report.html").read_text()
    sentence = json.loads((study / "results.json").read_text())["untuned_verdict"]
    assert sentence.startswith("Better than the untuned model (50.0): OTR +30.0 (+")
    assert page.index(f"{sentence}.") < page.index('<table class="verdict')
    assert page.count(sentence) == 1


def retitled(study: Path, **changes: object) -> Path:
    results = json.loads((study / "results.json").read_text())
    (study / "results.json").write_text(json.dumps(results | changes))
    write_report([study], study / "report.html")
    return study / "report.html"


def heading(page: str) -> str:
    return page.partition("<h1><bdi>")[2].partition("</bdi>")[0]


def test_the_heading_says_what_is_compared_and_not_where_it_lies(study: Path) -> None:
    page = retitled(study, title="study", name="study").read_text()
    assert heading(page) == "SFT, DFT and OTR on demo" and "<title>SFT, DFT and OTR" in page
    assert heading(retitled(study, title="Mine").read_text()) == "Mine"
    write_report([study / "sft-0", study / "otr-1"], study / "runs.html")
    assert heading((study / "runs.html").read_text()) == "Runs sft-0 and otr-1"


def test_several_studies_have_one_table_first_with_a_link_to_each(study: Path) -> None:
    retitled(study, title="Mine")
    write_report([study, study], study / "both.html")
    page = (study / "both.html").read_text()
    assert heading(page) == "SFT, DFT and OTR in 2 studies"
    first = page[page.index('<table class="verdict') : page.index("</table>")]
    for link in ("#g0-verdict", "#g1-verdict"):
        assert f'<a href="{link}"><bdi>Mine</bdi></a>' in first and f'id="{link[1:]}"' in page
    assert first.count(">ahead +") == 2 * 2 * 2
    assert first.count("Better than the untuned model (50.0).") == 2


def test_one_run_each_gives_numbers_and_no_verdict_in_the_first_table(study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    for method in results["methods"]:
        method["runs"] = method["runs"][:1]
        for difference in method["difference"].values():
            difference["by_seed"] = {"0": difference["mean"]}
    page = retitled(study, methods=results["methods"]).read_text()
    table = page[page.index('<table class="verdict') : page.index("</table>")]
    mean = results["methods"][1]["difference"]["in_domain"]["mean"]
    assert f">+{100 * mean:.1f}<" in table and "One run each: no verdict" in table
    assert ">ahead" not in table and ">even" not in table


def test_answers_that_were_cut_off_are_counted_on_the_page(study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    results["methods"][1]["cut"] = {"in_domain": 0.5, "retention": 0.0}
    results["untuned"]["demo/in_domain"]["cut"] = 0.125
    page = retitled(study, methods=results["methods"], untuned=results["untuned"]).read_text()
    assert page.count("% cut off<") == 2 and "50.0 % cut off" in page and "12.5 % cut off" in page
    scored = {"accuracy": 0.6, "n": 40, "interval_95": [0.4, 0.75], "num_truncated": 8}
    runs.write_json(study / "sft-0" / runs.SCORES, {"gsm8k": scored})
    write_report([study / "sft-0"], study / "runs.html")
    words = "8 cut off: may be right by what they happen to end with"
    assert words in (study / "runs.html").read_text().replace("\N{NO-BREAK SPACE}", " ")


def test_p_and_the_interval_beside_it_are_explained(study: Path) -> None:
    results = json.loads((study / "results.json").read_text())
    results["methods"][1]["difference"]["retention"] |= {
        "p_holm": 0.05002,
        "distinguishable": False,
    }
    page = retitled(study, methods=results["methods"]).read_text()
    assert "p 0.05002<" in page
    assert "an interval may leave out 0 and the difference still not be told apart" in page


def test_what_is_not_set_is_not_shown(study: Path) -> None:
    environment = {
        "git": None,
        "hardware": {"accelerators": [], "num_cores": 2},
        "tags": ["a", "b"],
    }
    for name in ("sft-0", "otr-1"):
        runs.write_json(study / name / runs.ENVIRONMENT, environment)
    write_report([study / "sft-0", study / "otr-1"], study / "runs.html")
    page = (study / "runs.html").read_text()
    body = page[page.index("<main") : page.index("</main>")].replace("<wbr>", "")
    assert "null" not in body and "[]" not in body and "accelerators" not in body
    assert "hardware.num_cores" in body and "a, b" in body
    assert "\N{MINUS SIGN}0.1" in body and ">-0.1" not in body


def test_hit_rates_are_drawn_only_where_they_compare_and_rewards_never(study: Path) -> None:
    folders = [study / "sft-0", study / "otr-1"]
    for older in (True, False):
        for folder in folders:
            rows = [
                {"step": step, "seconds": step, "loss": 1.0, "hit_rate": 0.5, "reward": 0.5}
                | ({} if older else {"rollout_hit_rate": 0.4})
                for step in range(1, 4)
            ]
            runs.write_jsonl(folder / runs.METRICS, rows)
        write_report(folders, study / "runs.html")
        page = (study / "runs.html").read_text()
        assert ("hit_rate during training" in page) == (not older)
        assert "reward during training" not in page
        assert "each objective&#39;s own, which do not compare" in page or (
            "each objective's own, which do not compare" in page
        )


def test_a_line_that_lies_under_another_is_said_to(study: Path) -> None:
    write_report([study / "sft-0", study / "otr-1"], study / "runs.html")
    assert "sft-0 lies under otr-1." in (study / "runs.html").read_text()
    rows = [{"step": step, "seconds": step, "loss": 0.1 * step} for step in range(1, 501)]
    runs.write_jsonl(study / "sft-0" / runs.METRICS, rows)
    write_report([study / "sft-0", study / "otr-1"], study / "runs.html")
    assert "lies under" not in (study / "runs.html").read_text()


def test_steps_have_whole_numbers_on_their_axis_and_rates_those_that_were_tried(
    study: Path,
) -> None:
    for folder in (study / "sft-0", study / "otr-1"):
        rows = [{"step": step, "seconds": step, "loss": 0.1} for step in range(1, 13)]
        runs.write_jsonl(folder / runs.METRICS, rows)
    write_report([study / "sft-0", study / "otr-1"], study / "runs.html")
    svg = (study / "runs.html").read_text().partition("against step<")[2].partition("</svg>")[0]
    axis = svg[svg.index("matplotlib.axis_1") : svg.index("matplotlib.axis_2")]
    ticks = re.findall(r">([^<>]*\d[^<>]*)</text>", axis)
    assert len(ticks) > 2 and all(tick.isdigit() for tick in ticks)
    write_report([study], study / "report.html")
    page = (study / "report.html").read_text()
    svg = page.partition("Validation accuracy of each")[2].partition("</svg>")[0]
    assert ">1e-4</text>" in svg and ">1e-3</text>" in svg and "\N{SUPERSCRIPT FOUR}" not in svg


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
    assert "Verdict" not in page and "loss during training, against seconds" in page
    assert "objective.num_rollouts" in page.replace("<wbr>", "") and "sft-0" in page


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
