"""Tasks of lm-evaluation-harness on our models, and its answers beside ours."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.evaluation import harness, pipeline
from otr.evaluation.benchmarks import Benchmark
from otr.evaluation.pipeline import evaluate
from otr.extras import install_words
from otr.runs import read_jsonl
from otr.signals import Stopped

GSM8K = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k" / "test.jsonl"
STOP = (" 1 6", " 2 1", " 8 1")
NUM_ROWS = 20

pytestmark = pytest.mark.filterwarnings("ignore")
installed = pytest.mark.skipif(
    find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed (requirements/harness.txt)",
)
needs_shared = pytest.mark.skipif(
    not GSM8K.is_file(), reason="the shared data folder is not beside the project"
)


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a task over rows of prompt and answer, as its users do."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def write(rows: list[dict[str, str]], **changes: Any) -> Path:
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        path = tmp_path / "local_gsm8k.yaml"
        definition = {
            "task": "local_gsm8k",
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(data)},
                "cache_dir": str(tmp_path / "cache"),
            },
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{prompt}}",
            "doc_to_target": "{{answer.split('####')[-1].strip()}}",
            "generation_kwargs": {"until": list(STOP), "do_sample": False, "max_gen_toks": 60},
            "filter_list": [
                {
                    "name": "last number",
                    "filter": [
                        {
                            "function": "regex",
                            "regex_pattern": r"(-?[0-9]+(?:[.,][0-9]+)*)",
                            "group_select": -1,
                        },
                        {"function": "take_first"},
                    ],
                }
            ],
            "metric_list": [{"metric": "exact_match"}],
        }
        path.write_text(yaml.safe_dump(definition | changes))
        return path

    return write


def gsm8k_with_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our GSM8K with the task's stop texts and length, so that both ask for the same."""
    usual = pipeline.load_benchmarks

    def load(*words: Any) -> list[Benchmark]:
        return [replace(each, stop=STOP, max_new_tokens=60) for each in usual(*words)]

    monkeypatch.setattr(pipeline, "load_benchmarks", load)


@installed
@needs_shared
@pytest.mark.slow
def test_both_paths_give_the_same_answers_to_gsm8k_one_by_one(
    tmp_path: Path, task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gsm8k_with_limits(monkeypatch)
    # The middle model says something about anything; the strong one stops at once.
    evaluate("demo-mid", [f"gsm8k={GSM8K}"], limit=NUM_ROWS, output=tmp_path / "ours")
    ours = list(read_jsonl(tmp_path / "ours" / runs.ANSWERS))
    path = task([{"prompt": row["prompt"], "answer": row["reference"]} for row in ours])
    scores = evaluate("demo-mid", [], harness=[str(path)], output=tmp_path / "theirs")
    theirs = list(read_jsonl(tmp_path / "theirs" / runs.ANSWERS))
    assert [row["prompt"] for row in theirs] == [row["prompt"] for row in ours]
    assert [row["output"] for row in theirs] == [row["output"] for row in ours]
    # Answers of all kinds: some are cut by a stop text, some by the limit.
    assert len({row["output"] for row in ours}) > NUM_ROWS // 4
    assert 0 < sum(row["truncated"] for row in ours) < NUM_ROWS
    entry = scores["harness/local_gsm8k"]
    assert entry["n"] == NUM_ROWS
    assert entry["metrics"]["exact_match,last number"] == pytest.approx(entry["accuracy"])
    assert entry["accuracy"] == sum(row["correct"] for row in theirs) / NUM_ROWS
    assert scores == runs.read_json(tmp_path / "theirs" / runs.SCORES)


ROWS = [
    {"prompt": f"add {a} 1 and 2 {b} :", "answer": f"#### {b}"} for a in range(3) for b in range(2)
]


@installed
@pytest.mark.slow
def test_a_stopped_task_goes_on_and_a_finished_one_is_not_done_again(
    tmp_path: Path, task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = task(ROWS), tmp_path / "scores"
    monkeypatch.setattr(harness, "_CPU_ROWS", 2)
    evaluate("demo-mid", ["demo/longer"], limit=2, output=folder)
    with monkeypatch.context() as patch:
        calls = []
        usual = harness._heed
        patch.setattr(
            harness,
            "_heed",
            lambda stop, place: calls.append(1) or usual(lambda: len(calls) > 1, place),
        )
        with pytest.raises(Stopped, match="the same command goes on"):
            evaluate("demo-mid", [], harness=[str(path)], output=folder)
    assert any((folder / runs.PARTIAL).iterdir())
    batches: list[int] = []
    usual = harness._heed
    monkeypatch.setattr(
        harness, "_heed", lambda stop, place: batches.append(1) or usual(stop, place)
    )
    scores = evaluate("demo-mid", [], harness=[str(path)], output=folder)
    # Three batches in all, of which one had been answered.
    assert len(batches) == 2
    assert not (folder / runs.PARTIAL).exists()
    assert runs.read_json(folder / runs.SCORES).keys() == {"demo/longer", "harness/local_gsm8k"}
    assert scores["harness/local_gsm8k"]["n"] == len(ROWS)

    said: list[str] = []
    again = evaluate("demo-mid", [], harness=[str(path)], output=folder, say=said.append)
    assert again == scores and "scored before" in said[0]
    assert len(batches) == 2
    # Other documents under the same name are another task.
    task(ROWS[1:])
    assert (
        evaluate("demo-mid", [], harness=[str(path)], output=folder)["harness/local_gsm8k"]["n"]
        == len(ROWS) - 1
    )


# Looking for a name takes the harness through the thousands of tasks that it brings.
@installed
@pytest.mark.slow
def test_a_task_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="harness: cannot load the task 'no_such_task'"):
        evaluate("demo-mid", [], harness=["no_such_task"], output=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_where_the_harness_is_not_there_the_way_to_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    assert main(["eval", "demo-mid", "--harness", "gsm8k"]) == 2
    assert install_words("harness") in capsys.readouterr().err


def test_something_must_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "demo"]) == 2
    assert "--benchmark demo" in capsys.readouterr().err
