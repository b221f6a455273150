"""Checkpoints as files: whole or not there, and every change is found."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from otr import OTRTrainer
from otr.training.checkpoints import (
    ASIDE,
    MANIFEST,
    checkpoint_name,
    find,
    keep_newest,
    seal,
    sweep,
    why_broken,
)
from otr.training.folder import save_model
from tests.training.models import arguments, dataset, model, tokenizer


def made(folder: Path, step: int) -> Path:
    """A checkpoint of three files, one of them in a folder of its own."""
    aside = folder / ASIDE / checkpoint_name(step)
    (aside / "shards").mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(os.urandom(1999) + b"y")
    (aside / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (aside / "shards" / "0.distcp").write_bytes(os.urandom(500))
    seal(aside, folder / checkpoint_name(step))
    return folder / checkpoint_name(step)


def test_the_newest_by_number_is_found_and_its_manifest_names_every_file(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        made(tmp_path, step)
    (tmp_path / "checkpoint-x").mkdir()
    assert find(tmp_path).newest == tmp_path / "checkpoint-10"
    files = json.loads((tmp_path / "checkpoint-9" / MANIFEST).read_text())["files"]
    assert set(files) == {"model.safetensors", "trainer_state.json", "shards/0.distcp"}
    assert files["model.safetensors"]["bytes"] == 2000


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "has 1999 bytes instead of 2000"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x"), "does not have the contents"),
        (lambda p: p.unlink(), "is missing"),
        (lambda p: p.with_name("more.bin").write_bytes(b"x"), "more.bin is not in its manifest"),
        (lambda p: p.with_name(MANIFEST).unlink(), "manifest.json is missing or broken"),
        (lambda p: p.with_name(MANIFEST).write_text("{}"), "lists no files"),
        (lambda p: (p.rename(p.parent.parent / "away"), p.symlink_to("../away")), "is a link"),
    ],
)
def test_whatever_was_changed_is_found_and_the_older_one_is_used(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    older, newer = made(tmp_path, 1), made(tmp_path, 2)
    assert why_broken(newer) is None
    spoil(newer / "model.safetensors")
    found = find(tmp_path)
    assert found.newest == older
    (line,) = found.broken
    assert line.startswith("checkpoint-2: ") and words in line


def test_a_save_that_never_ended_is_no_checkpoint_and_is_swept(tmp_path: Path) -> None:
    whole = made(tmp_path, 3)
    aside = tmp_path / ASIDE / checkpoint_name(4)
    aside.mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".checkpoint-2.removed").mkdir()
    assert find(tmp_path).newest == whole
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-3"}


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path: Path) -> None:
    before = (made(tmp_path, 5) / "model.safetensors").read_bytes()
    again = made(tmp_path, 5)
    assert why_broken(again) is None and (again / "model.safetensors").read_bytes() != before


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        made(tmp_path, step)
    keep_newest(tmp_path, None, None)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 5
    keep_newest(tmp_path, 2, "elsewhere/checkpoint-1")
    left = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert left == {"checkpoint-1", "checkpoint-4", "checkpoint-5"}


@pytest.mark.filterwarnings("ignore")
def test_a_model_s_files_are_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = OTRTrainer(
        model=model(),
        args=arguments(tmp_path),
        train_dataset=dataset(8),
        processing_class=tokenizer(),
    )
    events: list[str] = []
    usual_fsync, usual_rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        usual_fsync(handle)

    def rename(path: Path, target: Path) -> Path:
        events.append("named")
        return usual_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    save_model(trainer, tmp_path / "model")
    written = {path.name for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in written
    assert written | {".model.part"} <= set(events[: events.index("named")])
    assert events[-1] == tmp_path.name
