"""Text of models, data and folders of strangers never steers the terminal."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from otr import OTR, OTRTrainer, runs
from otr.commands.main import main
from otr.training.checkpoints import MANIFEST
from otr.training.progress import Progress, SampleGenerations
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

ESCAPE = "\x1b]0;stolen\x07\u202e"


class Hostile:
    """A tokenizer whose every text would set the window's title and turn the line around."""

    pad_token_id = 0

    def decode(self, *_: Any, **__: Any) -> str:
        return f"{ESCAPE}\n\rmore"


def test_generations_and_progress_show_escapes_as_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = SampleGenerations([[1, 2]], Hostile(), 1, 2, tmp_path / "samples.jsonl")
    trainer = OTRTrainer(
        model=model(), args=arguments(tmp_path, max_steps=2), train_dataset=dataset(8),
        processing_class=tokenizer(), objective=OTR(num_rollouts=4), callbacks=[shown, Progress()],
    )  # fmt: skip
    trainer.train()
    said = capfd.readouterr().err
    assert r"\x1b]0;stolen\x07\u202e\n\rmore" in said
    assert "\x1b]" not in said and "\u202e" not in said
    # What is kept is the text itself.
    (row, _) = runs.read_jsonl(tmp_path / "samples.jsonl")
    assert row["output"] == f"{ESCAPE}\n\rmore"


def test_names_in_a_run_folder_show_escapes_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    (tmp_path / "recipe.yaml").write_text(
        "model: demo-weak\ndata: {train: rows.jsonl}\noutput_dir: runs/first\n"
        "training: {max_steps: 2, save_steps: 1}\nsamples: {every_steps: 0}\n"
    )
    assert main(["train", "recipe.yaml"]) == 0
    run = tmp_path / "runs/first"
    shutil.rmtree(run / runs.MODEL)
    manifest = run / runs.CHECKPOINTS / "checkpoint-2" / MANIFEST
    files = json.loads(manifest.read_text())["files"]
    manifest.write_text(json.dumps({"files": files | {ESCAPE: {"bytes": 1, "sha256": ""}}}))
    environment = json.loads((run / runs.ENVIRONMENT).read_text())
    environment["versions"]["torch"] = ESCAPE
    (run / runs.ENVIRONMENT).write_text(json.dumps(environment))
    capsys.readouterr()
    assert main(["train", "recipe.yaml"]) == 0
    said = capsys.readouterr().err
    assert r"not used: checkpoint-2: \x1b]0;stolen\x07\u202e is missing" in said
    assert r"torch was \x1b]0;stolen" in said
    assert "\x1b]" not in said and "\u202e" not in said
