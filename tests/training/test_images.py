"""Models that see images: trained as TRL trains them, but for placeholders, which are not learned."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.sft_trainer import SFTTrainer

from otr import OTR, SFT, OTRTrainer, with_fused_head
from otr.training.placeholders import placeholder_ids
from tests.training.images import (
    FAMILIES,
    IMAGE,
    collator,
    conversations,
    processor,
    rows,
    seeing,
)
from tests.training.models import arguments, tokenizer
from tests.training.test_like_trl import assert_logs_what_trl_logs, own

pytestmark = pytest.mark.filterwarnings("ignore")


def without_images(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with nothing to learn at placeholders."""
    labels = batch["labels"].masked_fill(batch["input_ids"] == IMAGE, -100)
    return {**batch, "labels": labels}


@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradients_are_those_of_the_model_s_own_logits(kind: str, tmp_path: Path) -> None:
    batch = collator(kind)(list(rows(4)))
    plain = seeing(kind).train()
    expected = plain(**without_images(batch)).loss
    expected.backward()
    trainer = OTRTrainer(
        model=seeing(kind), args=arguments(tmp_path, gradient_accumulation_steps=2,
            per_device_train_batch_size=2), train_dataset=rows(4), data_collator=collator(kind),
        processing_class=tokenizer(), objective=SFT(),
    )  # fmt: skip
    halves = [collator(kind)(list(rows(4).select(chosen))) for chosen in ([0, 1], [2, 3])]
    micro_batches, num_tokens = trainer.get_batch_samples(iter(halves), 2, torch.device("cpu"))
    # The first of a row predicts nothing, and four are placeholders.
    assert num_tokens == 4 * (15 - 1 - 4)
    assert trainer.model is not None
    trainer.model.train()
    losses = [
        trainer.compute_loss(trainer.model, each, num_items_in_batch=num_tokens)
        for each in micro_batches
    ]
    torch.testing.assert_close(sum(losses), expected, rtol=1e-5, atol=1e-6)
    sum(losses).backward()  # type: ignore[union-attr]
    seen = 0
    for (name, mine), other in zip(
        trainer.model.named_parameters(), plain.parameters(), strict=True
    ):
        assert (mine.grad is None) == (other.grad is None), name
        if mine.grad is not None and other.grad is not None:
            seen += "vis" in name
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-6)
    assert seen > 4

    fused = with_fused_head(seeing(kind).train(), SFT())
    found = fused(**without_images(batch)).loss
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", [OTR(num_rollouts=8), OTR(num_rollouts="exact")])
def test_no_objective_draws_or_rewards_a_placeholder(objective: OTR, tmp_path: Path) -> None:
    """Another number of placeholders as labels changes nothing that is trained or logged."""
    logged = []
    for kept in (True, False):
        data = rows()
        if not kept:
            data = data.map(
                lambda row: {"labels": [-100 if t == IMAGE else t for t in row["input_ids"]]}
            )
        trainer = OTRTrainer(
            model=seeing("smolvlm"), args=arguments(tmp_path, max_steps=2), train_dataset=data,
            eval_dataset=data, data_collator=collator("smolvlm"), processing_class=tokenizer(),
            objective=objective,
        )  # fmt: skip
        trainer.train()
        lines = [*trainer.state.log_history[:2], trainer.evaluate()]
        logged.append([{k: v for k, v in line.items() if "second" not in k and "time" not in k and
            "memory" not in k} for line in lines])  # fmt: skip
    assert logged[0] == logged[1]
    assert {"hit_rate", "reward", "mean_token_accuracy"} <= logged[0][0].keys()


@pytest.mark.parametrize("split", [True, False])
def test_conversations_with_images_train_as_in_trl_but_for_the_placeholders(
    split: bool, tmp_path: Path
) -> None:
    """Through TRL's own processor and collator; equal where the prompt is not learned."""
    runs = []
    for kind in (OTRTrainer, SFTTrainer):
        trainer = kind(
            model=seeing("llava"),
            args=arguments(
                tmp_path, max_steps=2, max_length=None, eval_strategy="steps", eval_steps=2,
                remove_unused_columns=False,
            ),
            train_dataset=conversations(split=split),
            eval_dataset=conversations(8, split=split),
            processing_class=processor(),
            **own(kind),
        )  # fmt: skip
        if not split and kind is SFTTrainer:
            usual = copy.copy(trainer.data_collator)
            trainer.data_collator = lambda rows, usual=usual: without_images(usual(rows))  # type: ignore[assignment]
        trainer.train()
        runs.append(trainer)
    assert_logs_what_trl_logs(*runs)


def test_placeholders_of_images_video_and_sound_are_found_and_text_has_none() -> None:
    assert placeholder_ids(seeing("qwen2_vl").config) == (IMAGE, 126)
    assert placeholder_ids(seeing("gemma3").config, processor()) == (IMAGE,)
    assert placeholder_ids(seeing("llava").config.text_config, tokenizer()) == ()
