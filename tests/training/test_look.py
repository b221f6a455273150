"""A model is looked at for so many seconds, and is afterwards as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from otr.objectives import OTR
from otr.training.estimate import step_estimate
from otr.training.hardware import H100
from otr.training.look import (
    Pieces,
    TimedPass,
    as_it_was,
    padded_length,
    rows_of,
    timed_pass,
)
from otr.training.outlook import outlook
from otr.training.trainer import OTRTrainer
from tests.training import models

pytestmark = pytest.mark.filterwarnings("ignore")


def trainer(folder: Path, peft: LoraConfig | None = None, **changes: Any) -> OTRTrainer:
    return OTRTrainer(
        models.model(attention_dropout=0.1),
        args=models.arguments(folder, **changes),
        train_dataset=models.dataset(),
        processing_class=models.tokenizer(),
        objective=OTR(num_rollouts=8),
        peft_config=peft,
    )


class Clock:
    """Advances by a second at every reading of a piece's end: each piece takes as long as said."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        return self.now


def sizes(of: OTRTrainer, budget: float, seconds_a_piece: float) -> list[int]:
    clock = Clock(seconds_a_piece)
    found = []
    for piece in Pieces(of, budget, clock):
        found.append(len(piece["labels"]))
        clock.now += clock.seconds
    return found


def test_the_first_piece_is_a_row_and_later_ones_take_about_a_second(tmp_path: Path) -> None:
    of = trainer(tmp_path)
    assert sizes(of, 30.0, 0.1)[:5] == [1, 2, 4, 1, 8]
    assert sizes(of, 30.0, 2.0) == 15 * [1]


def test_the_budget_ends_it_after_the_piece_at_work(tmp_path: Path) -> None:
    of = trainer(tmp_path)
    assert sizes(of, 5.0, 100.0) == [1]
    clock, pieces = Clock(3.0), None
    pieces = Pieces(of, 5.0, clock)
    for piece in pieces:
        clock.now += 0.5 * piece["labels"].numel()
    assert pieces.seconds_per_token == pytest.approx(0.5)


def test_pieces_show_what_whole_batches_do(tmp_path: Path) -> None:
    of = trainer(tmp_path)

    def batches() -> Any:
        for batch in of.get_train_dataloader():
            yield of._prepare_inputs(batch)

    seen: list[int] = []
    whole = outlook(of, pieces=batches())
    found = outlook(of, pieces=Pieces(of, 1000.0), progress=seen.append)
    assert found.num_tokens == whole.num_tokens == seen[-1] and len(seen) > 8
    assert found.nll == pytest.approx(whole.nll, rel=1e-5)
    assert found.quantile_probs == pytest.approx(whole.quantile_probs, rel=1e-4)


def test_a_batch_that_is_not_by_row_stays_whole() -> None:
    labels = torch.zeros(4, 3)
    assert len(rows_of({"labels": labels, "mask": labels}, 1, 3)["labels"]) == 2
    for other in (torch.zeros(9, 2), torch.tensor(3)):
        batch = {"labels": labels, "pixels": other}
        assert rows_of(batch, 1, 3) is batch


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("recomputes", [False, True])
def test_a_timed_pass_leaves_nothing_behind(
    tmp_path: Path, adapted: bool, recomputes: bool
) -> None:
    peft = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM") if adapted else None
    of = trainer(tmp_path, peft, gradient_checkpointing=recomputes)
    assert of.model is not None
    before = {name: value.clone() for name, value in of.model.state_dict().items()}
    modes = [module.training for module in of.model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with as_it_was(of):
        outlook(of)
        timed = timed_pass(of, 1e-6, 60.0)
    assert timed is not None and timed.num_tokens > 0 and timed.seconds > 0
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in of.model.state_dict().items())
    assert all(weight.grad is None for weight in of.model.parameters())
    assert [module.training for module in of.model.modules()] == modes
    assert not of.model.is_gradient_checkpointing
    assert of.optimizer is None and of.head_timer.seconds == 0


def test_a_pass_that_would_take_too_long_is_smaller_or_left_out(tmp_path: Path) -> None:
    of = trainer(tmp_path)
    whole = timed_pass(of, 1e-9, 10.0)
    one_row = timed_pass(of, 1e-3, 0.1)
    assert whole is not None and one_row is not None
    assert whole.num_tokens == 8 * one_row.num_tokens
    assert timed_pass(of, 1.0, 10.0) is None


def test_a_step_is_as_many_passes_as_its_tokens_take_and_the_update(tmp_path: Path) -> None:
    settings = models.arguments(tmp_path, gradient_accumulation_steps=3)
    timed = TimedPass(num_tokens=200, seconds=5.0)
    found = step_estimate(models.model(), 100, settings, processor=H100, timed=timed)
    # Eight rows of 100 tokens, three times.
    assert found.seconds == pytest.approx(12 * 5.0 + found.time.update)
    time, how = found.lines()[-2:]
    assert time.startswith("time       about 60 s a step of about 2,400 tokens")
    assert how.endswith("200 tokens forward and backward in 5 s")
    reckoned = step_estimate(models.model(), 100, settings, processor=H100)
    assert reckoned.seconds == reckoned.time.computing


def test_padding_counts_up_to_the_longest_of_a_batch() -> None:
    assert padded_length([7, 7, 7], 4) == 7
    assert padded_length([1, 3, 5], 1) == 3
    # Of two draws from 1 and 3 the longer is 3 three times of four.
    assert padded_length([1, 3], 2) == pytest.approx(2.5, abs=0.15)
