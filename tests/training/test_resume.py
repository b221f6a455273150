"""A run that was stopped and goes on ends as if it had never stopped, bit by bit."""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import IterableDataset
from transformers import TrainerCallback

from otr import OTR, OTRTrainer, runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.errors import UserError
from otr.signals import Stopped
from otr.training import pipeline
from otr.training.config import Run
from otr.training.pipeline import train
from reliability import ends
from tests.training import models

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="bit by bit on a CPU only"),
]

Write = Callable[..., Run]


@pytest.fixture
def run_of(tmp_path: Path) -> Write:
    """A short run on 20 rows in a folder of its own: five steps an epoch, saved at the last."""
    write_demonstrations(REGIMES[0], 0, tmp_path / "rows.jsonl")

    def written(name: str, training: dict[str, Any] | None = None, **changes: Any) -> Run:
        data = data_section(tmp_path / "rows.jsonl") | {"limit": 20}
        return Run.model_validate(
            {
                "model": "demo-weak",
                "data": data | changes.pop("data", {}),
                "objective": {"name": "otr", "num_rollouts": 16, "sft_until": 0.5},
                "training": {
                    "max_steps": 12,
                    "save_steps": 12,
                    "per_device_train_batch_size": 4,
                    "learning_rate": 1e-3,
                    **(training or {}),
                },
                "samples": {"every_steps": 5, "max_new_tokens": 4},
                "output_dir": str(tmp_path / name),
                **changes,
            }
        )

    return written


class At(TrainerCallback):
    """Does something once, at the end of a step."""

    def __init__(self, step: int, action: Callable[[], None]) -> None:
        self.step, self.action = step, action

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            self.action()


def stopped_at(step: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """Train until a signal comes in a step; what is said of it."""
    with monkeypatch.context() as patch:
        added(patch, At(step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        with pytest.raises(Stopped) as caught:
            train(run, progress=False)
    return str(caught.value)


def added(patch: pytest.MonkeyPatch, callback: TrainerCallback) -> None:
    """Have runs use one callback more, before the others."""
    usual = pipeline.run_callbacks
    patch.setattr(pipeline, "run_callbacks", lambda *words: [callback, *usual(*words)])


def end_of(run: Run) -> dict[str, Any]:
    return ends.end_of(Path(run.output_dir), 12)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert ends.differing(one, other) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        pytest.param({}, [3], id="in the first epoch"),
        pytest.param({}, [5], id="at an epoch's end"),
        pytest.param({}, [2, 8], id="twice, also in the second epoch"),
        pytest.param({"training": {"gradient_accumulation_steps": 2}}, [4], id="accumulated"),
        pytest.param(
            {"training": {"packing": True, "max_length": 64}, "data": {"limit": 60}},
            [3, 7],
            id="packed",
        ),
        pytest.param({"training": {"logging_steps": 5}}, [3, 8], id="between two log lines"),
        pytest.param(
            {"lora": {"r": 2, "target_modules": "all-linear", "lora_dropout": 0.1}},
            [4],
            id="an adapter with dropout",
        ),
        pytest.param(
            {"objective": {"name": "dft", "anchor": {"kl": 0.1, "direction": "forward"}}},
            [6],
            id="anchored",
        ),
    ],
)
def test_a_run_goes_on_as_if_it_had_never_stopped(
    run_of: Write, changes: dict[str, Any], stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = run_of("whole", **changes), run_of("broken", **changes)
    train(whole, progress=False)
    for step in stops:
        words = stopped_at(step, broken, monkeypatch)
        assert f"checkpoint-{step}" in words and "the same command goes on" in words
    train(broken, progress=False)
    assert_same(end_of(whole), end_of(broken))
    steps = [row["step"] for row in end_of(broken)["metrics"] if "loss" in row]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_a_run_that_had_only_to_write_its_model_does_no_further_step(run_of: Write) -> None:
    whole, broken = run_of("whole"), run_of("broken")
    train(whole, progress=False)
    folder = train(broken, progress=False)
    shutil.rmtree(folder / runs.MODEL)
    (folder / runs.COST).unlink()
    train(broken, progress=False)
    assert_same(end_of(whole), end_of(broken))
    assert runs.read_json(folder / runs.COST)["num_steps"] == 12


@pytest.mark.slow
def test_evaluations_stand_in_the_metrics_once(
    run_of: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "data": {"validation": str(tmp_path / "rows.jsonl")},
        "training": {"eval_strategy": "epoch", "save_strategy": "epoch"},
    }
    whole, broken = run_of("whole", **changes), run_of("broken", **changes)
    train(whole, progress=False)
    stopped_at(7, broken, monkeypatch)
    train(broken, progress=False)
    assert_same(end_of(whole), end_of(broken))
    assert [row["step"] for row in end_of(broken)["metrics"] if "eval_loss" in row] == [5, 10, 12]


@pytest.mark.slow
def test_a_checkpoint_that_was_spoilt_is_not_used(
    run_of: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = run_of("whole"), run_of("broken")
    train(whole, progress=False)
    stopped_at(4, broken, monkeypatch)
    stopped_at(9, broken, monkeypatch)
    path = Path(broken.output_dir) / runs.CHECKPOINTS / "checkpoint-9" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    train(broken)
    said = capsys.readouterr().err
    assert "checkpoint-9: model.safetensors does not have the contents that were saved" in said
    assert "going on from" in said and "checkpoint-4" in said
    assert_same(end_of(whole), end_of(broken))


@pytest.mark.slow
def test_without_a_whole_checkpoint_nothing_is_begun_anew_unasked(
    run_of: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("broken")
    stopped_at(4, run, monkeypatch)
    (Path(run.output_dir) / runs.CHECKPOINTS / "checkpoint-4" / "optimizer.pt").unlink()
    with pytest.raises(UserError, match="optimizer.pt is missing") as caught:
        train(run, progress=False)
    assert "--restart" in str(caught.value)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(
    run_of: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of("full", training={"save_steps": 3})
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))

    with monkeypatch.context() as patch:
        added(patch, At(6, lambda: limit(200_000)))
        added(patch, At(7, lambda: limit(hard)))
        try:
            train(run, progress=False)
        finally:
            limit(hard)
    said = capsys.readouterr().err
    assert "PROBLEM: checkpoint-6 could not be written" in said
    assert "checkpoint-3 is whole and stays" in said
    left = {path.name for path in (Path(run.output_dir) / runs.CHECKPOINTS).iterdir()}
    assert left == {"checkpoint-9", "checkpoint-12"}


@pytest.mark.slow
def test_another_recipe_or_other_data_are_refused_with_the_difference(
    run_of: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("broken")
    stopped_at(2, run, monkeypatch)
    kept = {p: p.stat().st_mtime_ns for p in Path(run.output_dir).rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="training.learning_rate: was 0.001, now 0.01"):
        train(run_of("broken", training={"learning_rate": 1e-2}), progress=False)
    rows = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(rows + "\n")
    with pytest.raises(UserError, match=r"rows.jsonl: its contents have changed"):
        train(run, progress=False)
    assert kept == {p: p.stat().st_mtime_ns for p in kept}

    (tmp_path / "rows.jsonl").write_text(rows)
    # How often it is saved changes nothing of what is computed.
    folder = train(run_of("broken", training={"save_steps": 4}), progress=False)
    finished = (folder / runs.MODEL / "model.safetensors").stat().st_mtime_ns
    train(run, progress=False)
    assert (folder / runs.MODEL / "model.safetensors").stat().st_mtime_ns == finished
    train(run, restart=True, progress=False)
    assert (folder / runs.MODEL / "model.safetensors").stat().st_mtime_ns != finished


def _streamed(folder: Path) -> OTRTrainer:
    def rows() -> Any:
        yield from models.dataset(48)

    return OTRTrainer(
        model=models.model(),
        args=models.arguments(
            folder, max_steps=10, save_strategy="steps", save_steps=10,
            per_device_train_batch_size=4,
        ),
        train_dataset=IterableDataset.from_generator(rows),
        processing_class=models.tokenizer(),
        objective=OTR(num_rollouts=8),
    )  # fmt: skip


@pytest.mark.slow
def test_a_stream_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = _streamed(tmp_path / "whole")
    whole.train()
    for step in (4, 7):
        broken = _streamed(tmp_path / "broken")

        def stop(trainer: OTRTrainer = broken) -> None:
            trainer.control.should_save = trainer.control.should_training_stop = True

        broken.add_callback(At(step, stop))
        broken.train(resume_from_checkpoint=True)
        assert broken.state.global_step == step
    last = _streamed(tmp_path / "broken")
    last.train(resume_from_checkpoint=True)
    assert last.state.global_step == 10
    assert whole.model is not None and last.model is not None
    for one, other in zip(whole.model.parameters(), last.model.parameters(), strict=True):
        assert torch.equal(one, other)
