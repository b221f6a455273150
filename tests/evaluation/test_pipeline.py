"""From a model and benchmark names to files in a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from otr.errors import UserError
from otr.evaluation import pipeline
from otr.evaluation.answers import grade
from otr.evaluation.benchmarks import load_benchmarks
from otr.evaluation.pipeline import evaluate
from otr.runs import read_jsonl


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "answers.jsonl"))


def scores_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())


def test_every_score_can_be_counted_again_from_the_answers(tmp_path: Path) -> None:
    scores = evaluate("demo-mid", ["demo"], limit=12, output=tmp_path)
    assert scores == scores_of(tmp_path)
    rows = rows_of(tmp_path)
    assert len(rows) == 5 * 12 == len({row["id"] for row in rows})
    for row in rows:
        assert row["correct"] == grade(row["output"], row["reference"], row["benchmark"])
    parts = {"in_domain", "longer", "phrasing", "retention", "validation"}
    assert set(scores) == {"demo"} | {f"demo/{part}" for part in parts}
    for name, entry in scores.items():
        part = [
            row["correct"]
            for row in rows
            if row["benchmark"] == name
            or (name == "demo" and row["benchmark"] != "demo/validation")
        ]
        assert entry["n"] == len(part)
        assert entry["accuracy"] == pytest.approx(sum(part) / len(part))
        assert entry["interval_95"][0] <= entry["accuracy"] <= entry["interval_95"][1]
    kept = scores["demo/retention"]["categories"]
    assert {name: entry["n"] for name, entry in kept.items()} == dict.fromkeys(
        ("sub", "max", "reverse", "sort", "count", "chain"), 2
    )


def test_the_strong_base_can_do_the_tasks_and_the_weak_one_cannot_yet() -> None:
    strong = evaluate("demo", ["demo/in_domain", "demo/retention"], limit=60)
    weak = evaluate("demo-weak", ["demo/in_domain"], limit=60)
    assert strong["demo/in_domain"]["accuracy"] > 0.9
    assert strong["demo/retention"]["accuracy"] > 0.8
    assert weak["demo/in_domain"]["accuracy"] < 0.4


def test_sampled_answers_are_scored_as_avg_and_pass_at_k(tmp_path: Path) -> None:
    scores = evaluate(
        "demo-mid", ["demo/in_domain"], samples=4, temperature=1.0, limit=20, output=tmp_path
    )["demo/in_domain"]
    rows = rows_of(tmp_path)
    assert [row["sample"] for row in rows[:4]] == [0, 1, 2, 3]
    by_question = [[row["correct"] for row in rows[i : i + 4]] for i in range(0, 80, 4)]
    assert scores["pass_at_k"]["4"] == pytest.approx(sum(map(any, by_question)) / 20)
    assert scores["avg_at_k"]["4"] == pytest.approx(sum(map(sum, by_question)) / 80)
    assert scores["n"] == 20


def test_a_run_folder_gets_its_scores_beside_its_configuration(tmp_path: Path) -> None:
    from otr.pretrained import load_model, load_tokenizer

    load_model("demo-weak").save_pretrained(tmp_path / "model")
    load_tokenizer("demo-weak").save_pretrained(tmp_path / "model")
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    scores = evaluate(str(tmp_path), ["demo/longer"], limit=3)
    assert scores_of(tmp_path) == scores
    embedded = evaluate("demo-weak", ["demo/longer"], limit=3)["demo/longer"]
    assert scores["demo/longer"]["accuracy"] == embedded["accuracy"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_is_scored_on_its_base_model(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from otr.evaluation.identity import model_digest
    from otr.pretrained import load_model, load_tokenizer

    load_model("demo-weak").save_pretrained(tmp_path / "base")
    base = load_model(str(tmp_path / "base"))
    adapter = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear"))
    adapter.save_pretrained(str(tmp_path / "adapter"))
    load_tokenizer("demo-weak").save_pretrained(tmp_path / "adapter")
    # A fresh adapter changes nothing yet.
    evaluate(str(tmp_path / "adapter"), ["demo/longer"], limit=4, output=tmp_path / "one")
    evaluate("demo-weak", ["demo/longer"], limit=4, output=tmp_path / "other")
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "other")
    before = model_digest(str(tmp_path / "adapter"))
    load_model("demo-mid").save_pretrained(tmp_path / "base")
    assert model_digest(str(tmp_path / "adapter")) != before


def test_another_benchmark_is_added_and_another_model_replaces(tmp_path: Path) -> None:
    evaluate("demo-mid", ["demo/longer", "demo/phrasing"], limit=2, output=tmp_path)
    evaluate("demo-mid", ["demo/phrasing"], limit=3, output=tmp_path)
    assert {name: entry["n"] for name, entry in scores_of(tmp_path).items()} == {
        "demo/longer": 2,
        "demo/phrasing": 3,
    }
    assert len(rows_of(tmp_path)) == 5
    evaluate("demo-weak", ["demo/in_domain"], limit=1, output=tmp_path)
    assert set(scores_of(tmp_path)) == {"demo/in_domain"}
    assert len(rows_of(tmp_path)) == 1


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate("demo-mid", ["demo/longer"], limit=2, output=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*arguments, **options):
        raise RuntimeError("broken")

    monkeypatch.setattr(pipeline, "load_engine", fail)
    with pytest.raises(RuntimeError):
        evaluate("demo-mid", ["demo/longer"], limit=1, output=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_gsm8k_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(
        '{"question": "2 and 2?", "answer": "It is 4.\\n#### 4"}\n\n'
        '{"question": "10 / 2?", "answer": "#### 5"}\n'
    )
    (benchmark,) = load_benchmarks([f"gsm8k={path}"])
    assert benchmark.name == "gsm8k"
    assert [question.id for question in benchmark.questions] == ["gsm8k/0", "gsm8k/1"]
    assert benchmark.questions[0].prompt == "2 and 2?\n"
    scores = evaluate("demo-weak", [f"gsm8k={path}", "demo/longer"], limit=1, output=tmp_path)
    assert {name: entry["n"] for name, entry in scores.items()} == {"gsm8k": 1, "demo/longer": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmarks": []}, "name at least one"),
        ({"benchmarks": ["dmeo"]}, "'dmeo' is not known; did you mean 'demo'"),
        ({"benchmarks": ["demo/in_domian"]}, "did you mean 'demo/in_domain'"),
        ({"benchmarks": ["demo", "demo/longer"]}, "'demo/longer' is given twice"),
        ({"benchmarks": ["gsm8k/hard"]}, "has no parts"),
        ({"benchmarks": ["gsm8k=nowhere.jsonl"]}, "nowhere.jsonl: no such file"),
        ({"samples": 0}, "at least 1"),
        ({"samples": 2}, "give a temperature above 0"),
        ({"temperature": -1.0}, "temperature"),
        ({"limit": 0}, "limit: must be at least 1"),
        ({"model_or_run": "./nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(
            **{"model_or_run": "demo", "benchmarks": ["demo"], "output": tmp_path / "x"} | options
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q"}', "line 1: needs a text 'answer', has"),
        ('{"question": "q", "answer": "none"}', "line 1: the answer holds no number"),
        ("", "holds no rows"),
    ],
)
def test_a_bad_row_of_a_benchmark_file_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        load_benchmarks([f"gsm8k={path}"])


def test_programs_are_only_run_when_asked_for_and_this_is_said_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.jsonl"
    row = {
        "task_id": "some/0",
        "prompt": "def one():\n",
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    path.write_text(json.dumps(row) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_engine", lambda *words, **options: pytest.fail("loaded"))
        with pytest.raises(UserError, match="humaneval are programs; --run-code runs them"):
            evaluate("demo-weak", [f"humaneval={path}"], output=tmp_path / "x")
    assert not (tmp_path / "x").exists()
