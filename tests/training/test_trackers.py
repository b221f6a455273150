"""Runs reported to trackers: the figures of metrics.jsonl, in the run's folder, without a network."""

import os
import socket
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.errors import UserError
from otr.report.folders import metrics
from otr.report.report import write_report
from otr.training.config import Run
from otr.training.pipeline import train
from otr.training.progress import COLUMNS
from otr.training.trackers import check_trackers

pytestmark = pytest.mark.filterwarnings("ignore")

_NOT_TRACKED = {"step", "seconds"}
"""Trackers have axes of their own for these."""


def needs(package: str) -> Any:
    missing = find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed; see make trackers")


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains two steps with a tracker, and refuses every connection to another machine."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    rows = [{"question": f"add {a} and 1 :", "answer": f"ans {a + 1} ."} for a in range(2, 9)]
    runs.write_jsonl(tmp_path / "rows.jsonl", rows)
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a tracker connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)

    def trained(tracker: str) -> tuple[Path, list[dict[str, Any]]]:
        run = Run.model_validate(
            {
                "model": "demo",
                "data": {"train": "rows.jsonl", "prompt": "question", "completion": "answer"},
                "objective": {"name": "otr", "num_rollouts": 8},
                "training": {
                    "max_steps": 2,
                    "per_device_train_batch_size": 2,
                    "save_strategy": "no",
                    "report_to": tracker,
                    "run_name": "first",
                },
                "output_dir": "run",
            }
        )
        folder = train(run, progress=False)
        # wandb sets one more for its own process.
        assert not {"WANDB_MODE", "WANDB_DIR", "TRACKIO_DIR", "MLFLOW_TRACKING_URI"} & set(
            os.environ
        )
        outside = {path.name for path in tmp_path.iterdir()} - {"rows.jsonl", "run"}
        assert not outside, f"{tracker} writes {outside} outside the run's folder"
        return folder, list(runs.read_jsonl(folder / runs.METRICS))

    return trained


@needs("tensorboard")
def test_tensorboard_has_the_figures_of_the_run_and_the_report_reads_them(
    tracked: Any, tmp_path: Path
) -> None:
    folder, expected = tracked("tensorboard")
    events = folder / runs.TRACKERS / "tensorboard"
    found = metrics(events)
    assert [row["step"] for row in found] == [1, 2]
    for row, line in zip(found, expected, strict=True):
        assert set(COLUMNS) <= set(row)
        for column in set(COLUMNS) - _NOT_TRACKED:
            assert row[column] == pytest.approx(line[column], rel=1e-6), column
    assert found[0]["seconds"] == 0 < found[1]["seconds"]
    page = tmp_path / "page.html"
    write_report([folder, events], page)
    text = page.read_text(encoding="utf-8")
    assert "hit_rate during training, against step" in text and text.count("tensorboard") > 1


@needs("wandb")
def test_wandb_stays_offline_and_in_the_run_folder(tracked: Any) -> None:
    import wandb  # type: ignore[import-not-found]

    folder, expected = tracked("wandb")
    wandb.finish()
    (log,) = (folder / runs.TRACKERS / "wandb").glob("offline-run-*/*.wandb")
    content = log.read_bytes()
    for column in set(expected[0]) & set(COLUMNS) - _NOT_TRACKED:
        assert f"train/{column}".encode() in content, column


@needs("mlflow")
def test_mlflow_has_the_figures_of_the_run_in_its_folder(tracked: Any) -> None:
    folder, expected = tracked("mlflow")
    with sqlite3.connect(folder / runs.TRACKERS / "mlflow.db") as database:
        found = database.execute("SELECT key, step, value FROM metrics").fetchall()
    values = {(name, step): value for name, step, value in found}
    for line in expected:
        for column in set(COLUMNS) - _NOT_TRACKED:
            assert values[column, line["step"]] == pytest.approx(line[column]), column


@needs("trackio")
def test_trackio_has_the_figures_of_the_run_in_its_folder(tracked: Any) -> None:
    folder, expected = tracked("trackio")
    (path,) = (folder / runs.TRACKERS / "trackio").rglob("*.db")
    with sqlite3.connect(path) as database:
        content = str(database.execute("SELECT metrics FROM metrics").fetchall())
    for column in set(COLUMNS) - _NOT_TRACKED:
        assert column in content, column


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "otr.training.trackers.get_available_reporting_integrations", lambda: ["tensorboard"]
    )
    check_trackers(["tensorboard"])
    with pytest.raises(UserError, match="training.report_to: wandb is not installed; pip install"):
        check_trackers(["tensorboard", "wandb"])
