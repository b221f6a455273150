"""Nothing is sent to anyone: no telemetry, no tracker that was not asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otr import OTR, OTRTrainer, runs
from otr.training import pipeline
from otr.training.config import Run
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

_WATCH = """\
import os, socket, sys
def refuse(what):
    def refused(self, *words, **_):
        if getattr(self, "family", None) != socket.AF_UNIX:
            open(os.environ["SEEN"], "a").write(f"{what} {words}\\n")
            raise OSError("no network here")
        return usual[what](self, *words)
    return refused
usual = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto", "bind")}
for name in usual:
    setattr(socket.socket, name, refuse(name))
def resolve(*words, **_):
    open(os.environ["SEEN"], "a").write(f"getaddrinfo {words}\\n")
    raise socket.gaierror("no network here")
socket.getaddrinfo = resolve
"""


def watched(folder: Path, *words: str) -> str:
    """Run Python in a process that writes down each use of the network; what it wrote."""
    (folder / "sitecustomize.py").write_text(_WATCH)
    path = os.pathsep.join([str(folder), *sys.path])
    # With CI set TRL would keep quiet by itself.
    variables = {name: value for name, value in os.environ.items() if name not in ("CI",)}
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "DO_NOT_TRACK"):
        variables.pop(name, None)
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=variables | {"PYTHONPATH": path, "SEEN": str(folder / "seen")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "seen").read_text() if (folder / "seen").is_file() else ""


@pytest.mark.slow
def test_a_run_on_files_of_one_s_own_uses_no_network(tmp_path: Path) -> None:
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    (tmp_path / "recipe.yaml").write_text(
        "model: demo-weak\ndata: {train: rows.jsonl}\noutput_dir: runs/first\n"
        "training: {max_steps: 1}\n"
    )
    code = (
        "import sys, time; from otr.commands.main import main; "
        "status = main(['train', 'recipe.yaml']); time.sleep(1); sys.exit(status)"
    )
    assert watched(tmp_path, "-c", code) == ""
    assert (tmp_path / "runs/first/model").is_dir()


def test_the_watch_sees_what_is_sent(tmp_path: Path) -> None:
    code = (
        "import time, huggingface_hub.utils as u; u.send_telemetry('x', library_name='trl'); "
        "time.sleep(2)"
    )
    assert "huggingface.co" in watched(tmp_path, "-c", code)


def test_the_trainer_alone_reports_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(
        "trl.trainer.base_trainer.send_telemetry", lambda **words: sent.append(str(words))
    )
    OTRTrainer(
        model=model(), args=arguments(tmp_path), train_dataset=dataset(4),
        processing_class=tokenizer(), objective=OTR(),
    )  # fmt: skip
    assert sent == []


@pytest.mark.parametrize("asked", [None, "tensorboard"])
def test_trackers_are_used_only_where_they_are_asked_for(tmp_path: Path, asked: str | None) -> None:
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "training": {"max_steps": 1} | ({"report_to": asked} if asked else {}),
            "output_dir": str(tmp_path / "run"),
        }
    )
    prepared = pipeline.prepare(run)
    assert prepared.arguments.report_to == ([asked] if asked else [])
