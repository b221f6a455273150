"""What of the data is not read, and what the model would not learn, is said by check and before training."""

import json
from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.commands.main import main

pytestmark = pytest.mark.filterwarnings("ignore")

PAIR = {"prompt": "add 2 and 1 :", "completion": "ans 3 ."}
CHAT = {
    "messages": [
        {"role": "user", "content": "add 2 and 1 :", "name": "Bob"},
        {"role": "assistant", "content": "ans 3 ."},
    ]
}


def recipe(folder: Path, rows: list[dict[str, Any]]) -> str:
    runs.write_jsonl(folder / "rows.jsonl", rows)
    (folder / "recipe.yaml").write_text(
        f"model: demo\ndata: {{train: {folder / 'rows.jsonl'}}}\nobjective: {{name: sft}}\n"
        "training: {max_steps: 1, per_device_train_batch_size: 2, save_strategy: 'no'}\n"
        f"samples: {{every_steps: 0}}\noutput_dir: {folder / 'run'}\n"
    )
    return str(folder / "recipe.yaml")


def test_a_key_that_is_not_read_is_said_by_check_in_the_audit_and_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path, [CHAT] * 2)
    unread = f"'name' of a turn is not read, in 2 rows (first: {tmp_path / 'rows.jsonl'}, line 1)"
    assert main(["check", path, "--data-only"]) == 0
    assert f"note       {unread}" in capsys.readouterr().out
    assert main(["train", path]) == 0
    assert f"note: {unread}" in capsys.readouterr().err
    assert unread in json.loads((tmp_path / "run" / runs.AUDIT).read_text())["notes"]


def test_check_exits_with_status_2_on_bad_answers_unless_their_column_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path, [PAIR | {"label": True}, PAIR | {"label": False}])
    assert main(["check", path, "--data-only"]) == 2
    assert "PROBLEM    1 example: `label` or `kto_tag` is false" in capsys.readouterr().out
    assert main(["check", path, "--data-only", "data.ignore=[label]"]) == 0
    path = recipe(tmp_path, [PAIR, PAIR | {"weight": 0.5}])
    assert main(["check", path, "--data-only"]) == 2
    said = capsys.readouterr().err
    assert "rows.jsonl, line 2, column 'weight': weight is 0.5" in said


def test_weights_that_a_step_leaves_as_they_are_are_said_by_check_and_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path, [PAIR] * 2)
    coarse = ["training.learning_rate=5e-6", "training.model_init_kwargs={dtype: bfloat16}"]
    assert main(["check", path, *coarse]) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("warning ")]
    assert "% of the bfloat16 weights as they are" in line
    assert "end tokens " in said and "(2 ends of answers looked at)" in said
    assert main(["train", path, *coarse]) == 0
    assert f"warning: {line.removeprefix('warning').strip()}" in capsys.readouterr().err
    assert main(["check", path]) == 0
    assert "warning " not in capsys.readouterr().out
