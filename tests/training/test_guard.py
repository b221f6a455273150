"""Steps that are not finite: left out, kept for a look, and no end of them ends the run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from transformers import TrainerCallback

from otr import OTR, OTRTrainer, runs
from otr.training.guard import discard_gradients
from tests.processes import launch
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


class Snapshots(TrainerCallback):
    """Weights and optimizer after every step."""

    def __init__(self) -> None:
        self.weights: list[list[torch.Tensor]] = []
        self.moments: list[list[torch.Tensor]] = []

    def on_step_end(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        self.weights.append([value.detach().clone() for value in model.parameters()])
        states = optimizer.state.values()
        self.moments.append([part[k].clone() for part in states for k in ("step", "exp_avg")])


def trainer_of(folder: Path, **changes: Any) -> OTRTrainer:
    return OTRTrainer(
        model=model(),
        args=arguments(folder, **{"max_steps": 6, **changes}),
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=8),
    )


def poisoned(trainer: OTRTrainer, steps: set[int], what: str) -> None:
    """Make the loss, or only the gradient, of some steps' last micro-batch not finite."""
    usual, count = trainer.forward_with_head, trainer.args.gradient_accumulation_steps
    calls = [0]

    def forward(*words: Any, **keywords: Any) -> Any:
        head, outputs = usual(*words, **keywords)
        calls[0] += 1
        if calls[0] % count == 0 and trainer.state.global_step + 1 in steps:
            factor = torch.tensor(torch.inf)
            if what == "gradient":
                # x·∞ − x·∞ would not be finite either: a hook poisons on the way back alone.
                head.loss.register_hook(lambda gradient: gradient * torch.nan)
            else:
                head = dataclasses.replace(head, loss=head.loss * factor)
        return head, outputs

    trainer.forward_with_head = forward  # type: ignore[method-assign]


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_that_is_not_finite_touches_neither_weights_nor_optimizer(
    tmp_path: Path, what: str, accumulated: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainer_of(tmp_path, gradient_accumulation_steps=accumulated)
    poisoned(trainer, {3}, what)
    seen = Snapshots()
    trainer.add_callback(seen)
    trainer.train()
    for kept in (seen.weights, seen.moments):
        assert all(torch.equal(a, b) for a, b in zip(kept[1], kept[2], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(kept[2], kept[3], strict=True))
    assert all(torch.isfinite(value).all() for value in seen.weights[-1])
    assert f"the {'loss' if what == 'loss' else 'gradient norm'} of step 3 is" in (
        capsys.readouterr().err
    )
    found = json.loads((tmp_path / runs.SKIPPED / "step-3.json").read_text())
    assert found["step"] == 3 and len(found["micro_batches"]) == accumulated
    row = found["micro_batches"][0]["rows"][0]
    assert row["text"].startswith("w") and len(row["input_ids"]) == len(row["labels"])
    assert row["num_supervised"] > 0 and row["num_not_finite"] == 0 and row["nll"] > 0
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 6 and 0.0 not in losses


def test_so_many_in_a_row_end_the_run_with_the_weights_of_the_step_before(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    poisoned(trainer, {2, 4, 5, 6}, "loss")
    seen = Snapshots()
    trainer.add_callback(seen)
    with pytest.raises(FloatingPointError, match="3 steps in a row were not finite") as caught:
        trainer.train()
    assert "those of step 3" in str(caught.value)
    assert trainer.model is not None
    now = [value.detach() for value in trainer.model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(now, seen.weights[2], strict=True))
    assert len(list((tmp_path / runs.SKIPPED).iterdir())) == 4


def test_a_run_does_not_end_well_on_a_step_that_was_left_out(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    poisoned(trainer, {6}, "loss")
    with pytest.raises(FloatingPointError, match="the last 1 step"):
        trainer.train()


def test_weights_that_are_not_finite_from_the_start_are_found(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight[:] = float("inf")  # type: ignore[union-attr]
    with pytest.raises(FloatingPointError, match="loss of step 3 is nan"):
        trainer.train()


@pytest.mark.parametrize("clips", [True, False])
def test_under_a_scaler_a_step_that_was_left_out_changes_nothing(clips: bool) -> None:
    Accelerator(cpu=True)
    part, scaler = model(), torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = AcceleratedOptimizer(torch.optim.AdamW(part.parameters()), scaler=scaler)
    before = [value.detach().clone() for value in part.parameters()]
    # Its gradients are finite, so that the scaler itself would take the step.
    scaler.scale(part(input_ids=torch.arange(8)[None]).logits.sum()).backward()
    if clips:
        scaler.unscale_(optimizer.optimizer)
    discard_gradients(part, optimizer)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(part.parameters(), before, strict=True))


@pytest.mark.slow
def test_one_process_s_bad_step_is_left_out_by_all(tmp_path: Path) -> None:
    launch(2, "tests.training.two_guards", str(tmp_path))
    one, two = (json.loads((tmp_path / f"process-{n}.json").read_text()) for n in range(2))
    assert one == two
    assert one["moved"] == [True, True, False, True, True]
    assert {path.name for path in (tmp_path / runs.SKIPPED).iterdir()} == {
        "step-3-0.json", "step-3-1.json",
    }  # fmt: skip
