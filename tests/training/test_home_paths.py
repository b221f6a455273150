"""`~` means the home folder in every path of a run file and of a study file."""

from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.commands.main import main
from otr.study.file import Study
from otr.training.config import Run

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def test_a_run_lies_in_one_folder_and_is_resumed_from_its_checkpoint(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.write_jsonl(
        home / "rows.jsonl", [{"prompt": "add 2 and 1 :", "completion": "ans 3 ."}] * 4
    )
    Path("recipe.yaml").write_text(
        "model: demo-weak\ndata: {train: ~/rows.jsonl, separator: ' '}\n"
        "training: {max_steps: 2, save_steps: 1}\nsamples: {every_steps: 0}\n"
        "output_dir: ~/runs/x\n"
    )
    assert main(["train", "recipe.yaml"]) == 0
    assert (home / "runs/x/checkpoints/checkpoint-2/model.safetensors").is_file()
    assert (home / "runs/x/model/model.safetensors").is_file()
    assert not Path("~").exists()
    # As if it had been killed before the model was written.
    (home / "runs/x/model").rename(home / "moved")
    capsys.readouterr()
    assert main(["train", "recipe.yaml"]) == 0
    assert "checkpoints/checkpoint-2" in capsys.readouterr().err


def test_every_path_of_a_run_file_is_expanded(home: Path) -> None:
    files = ("chat_template_path", "deepspeed", "fsdp_config")
    run = Run.model_validate(
        {
            "model": "~/base",
            "data": {"train": "~/rows.jsonl", "validation": "~/more.jsonl"},
            "training": {**{name: f"~/{name}" for name in files}, "learning_rate": 1e-4},
            "output_dir": "~/run",
        }
    )
    assert run.output_dir == str(home / "run")
    assert run.model == str(home / "base")
    assert (run.data.train, run.data.validation) == (
        str(home / "rows.jsonl"),
        str(home / "more.jsonl"),
    )
    assert run.training == {**{name: str(home / name) for name in files}, "learning_rate": 1e-4}


def test_a_study_lies_in_the_home_folder(home: Path) -> None:
    study: dict[str, Any] = {
        "base": {}, "objectives": [{"name": "sft"}], "learning_rates": [1e-4], "seeds": [0],
        "validation": {"benchmark": "add"}, "benchmarks": {"in_domain": ["sub"]},
        "output_dir": "~/study",
    }  # fmt: skip
    assert Study.model_validate(study).output_dir == str(home / "study")
