"""`otr check`: what is printed when, and in which words."""

import json
from pathlib import Path
from typing import Any

import pytest

from otr.commands.main import main
from otr.training import check as checking

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = [{"question": f"add {a} and 1 :", "answer": f"ans {a + 1} ."} for a in range(2, 9)]
    rows += [{"question": "add " + "7 " * 40 + ":", "answer": "ans 1 ."}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("recipe.yaml").write_text(
        "model: demo\ndata: {train: rows.jsonl, prompt: question, completion: answer}\n"
        "training: {max_length: 20}\noutput_dir: runs/first\n"
    )
    return tmp_path


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the model was looked at")


def test_a_problem_is_said_at_once_and_no_model_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checking, "outlook", never)
    monkeypatch.setattr(checking, "timed_pass", never)
    assert main(["check", "recipe.yaml"]) == 2
    lines = capsys.readouterr().out.splitlines()
    problem = next(line for line in lines if line.startswith("PROBLEM"))
    assert problem.startswith("PROBLEM    1 examples are longer than training.max_length=20")
    # Training refuses these rows; nobody has asked to drop them.
    assert not any("dropped" in line for line in lines)
    assert any(line.startswith("memory") for line in lines)
    assert "labels     not looked at, nor was a step timed: mend the problem first" in lines
    assert lines[-1] == "1 problem"


def test_what_is_dropped_or_cut_as_asked_is_said_in_the_last_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "recipe.yaml", "data.overlong=drop", "--data-only"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "1 of 8 examples (12%) are dropped, as data.overlong says; nothing else would be lost"
    )
    assert main(["check", "recipe.yaml", "training.max_length=200", "--data-only"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing would be lost"


def test_the_data_are_printed_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before: list[str] = []
    load = checking.loaded_model

    def loaded(prepared: Any) -> Any:
        before.append(capsys.readouterr().out)
        return load(prepared)

    monkeypatch.setattr(checking, "loaded_model", loaded)
    assert main(["check", "recipe.yaml", "training.max_length=200", "--seconds", "5"]) == 0
    assert "rows       8 of completion" in before[0] and "learn |" in before[0]
    said = capsys.readouterr()
    assert "as timed just now: " in said.out
    assert "looked at for at most 5 s in all; --seconds changes it" in said.out
    assert "supervised tokens looked at" in said.out
    assert "asking the model about the labels: 0 of " in said.err and " of 5 s" in said.err


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan", "soon"])
def test_a_time_that_is_none_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "recipe.yaml", f"--seconds={seconds}"]) == 2
    assert "--seconds" in capsys.readouterr().err
