"""Documents that share a row: none learns from another, and all learn what they would alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from otr import OTR, SFT, OTRTrainer
from otr.objectives import Objective
from tests.training.models import VOCABULARY, arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

APART: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "eager", {}),
    ("llama", "sdpa", {}),
    # Learned positions, and a window that slides over them.
    ("gpt2", "sdpa", {}),
    ("gemma2", "eager", {"sliding_window": 4}),
]


def trainer(
    folder: Path, of: PreTrainedModel, objective: Objective | None = None, **keywords: Any
) -> OTRTrainer:
    made = OTRTrainer(
        model=of,
        args=arguments(folder, **keywords),
        train_dataset=dataset(16),
        eval_dataset=dataset(4, seed=2),
        processing_class=tokenizer(),
        objective=objective or OTR(num_rollouts=32),
    )
    made.current_gradient_accumulation_steps = 1
    return made


def learned(
    of: OTRTrainer, documents: list[list[int]], labels: list[list[int]]
) -> tuple[float, dict[str, float], dict[str, Tensor]]:
    """Loss, logged means and gradients of one batch."""
    assert of.model is not None
    rows = [
        {"input_ids": ids, "labels": of_them}
        for ids, of_them in zip(documents, labels, strict=True)
    ]
    of.model.train()
    of.model.zero_grad()
    of._sums["train"].clear()
    loss = of.compute_loss(of.model, of.data_collator(rows))
    loss.backward()
    gradients = {
        name: value.grad.clone()
        for name, value in of.model.named_parameters()
        if value.grad is not None
    }
    return float(loss), of._sums["train"].means(of.accelerator), gradients


@pytest.mark.parametrize(("kind", "attention", "changes"), APART)
def test_another_document_in_the_row_changes_no_gradient_no_loss_and_no_rollout(
    tmp_path: Path, kind: str, attention: str, changes: dict[str, Any]
) -> None:
    of = model(kind, **changes)
    of.set_attn_implementation(attention)
    packed = trainer(tmp_path, of, packing=True, max_length=32)
    first, other, second = list(range(40, 49)), [7] * 9, list(range(3, 15))
    ignored = [-100] * 9
    loss, means, gradients = learned(packed, [first, second], [ignored, second])
    again, means_again, gradients_again = learned(packed, [other, second], [ignored, second])
    assert again == loss and means_again == means
    assert max(float(value.norm()) for value in gradients.values()) > 1e-3
    for name, value in gradients.items():
        torch.testing.assert_close(gradients_again[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "attention", "changes"), APART)
def test_documents_in_one_row_learn_what_they_learn_in_rows_of_their_own(
    tmp_path: Path, kind: str, attention: str, changes: dict[str, Any]
) -> None:
    documents = [list(row) for row in dataset(5, seed=7)["input_ids"]]
    found = []
    for keywords in ({"padding_free": True, "max_length": None}, {}):
        of = model(kind, **changes)
        of.set_attn_implementation(attention)
        found.append(learned(trainer(tmp_path, of, **keywords), documents, documents))
    (loss, means, gradients), (padded_loss, padded_means, padded_gradients) = found
    assert loss == pytest.approx(padded_loss, rel=1e-5)
    for column in ("nll", "entropy", "hit_rate", "num_seen"):
        assert means[column] == pytest.approx(padded_means[column], rel=1e-5), column
    for name, value in padded_gradients.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-3, atol=1e-5)


def leaking(kind: str) -> PreTrainedModel:
    """A model whose forward hands its masks no positions (gpt-oss, OPT), or has a state that runs on
    over the whole row (Mamba)."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, ffn_dim=48,
        word_embed_proj_dim=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=128,
        state_size=4, initializer_range=0.2, bos_token_id=0, eos_token_id=120, pad_token_id=121,
        dropout=0.0,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("kind", ["gpt_oss", "opt", "mamba"])
@pytest.mark.parametrize(
    "keywords", [{"packing": True, "max_length": 32}, {"padding_free": True, "max_length": None}]
)
def test_a_model_that_cannot_keep_documents_apart_is_refused(
    tmp_path: Path, kind: str, keywords: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="a packed document sees the ones before it in its row"):
        trainer(tmp_path, leaking(kind), SFT(), **keywords)


def test_a_model_that_is_refused_packing_trains_without(tmp_path: Path) -> None:
    trainer(tmp_path, leaking("gpt_oss"), SFT(), max_steps=1).train()


def test_trying_a_model_changes_no_mode_and_no_random_number(tmp_path: Path) -> None:
    of = model()
    of.train()
    of.lm_head.eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    made = trainer(tmp_path, of, packing=True, max_length=32)
    of.train()
    of.lm_head.eval()
    torch.manual_seed(5)
    from otr.training.packing import check_documents_apart

    check_documents_apart(of, made._documents)
    assert of.training and not of.lm_head.training
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("keywords", "way_out"),
    [
        ({"packing": True, "packing_strategy": "wrapped"}, "leave it out, for 'bfd'"),
        ({"eval_packing": True}, "eval_packing=True without packing=True"),
    ],
)
def test_settings_that_mix_documents_are_refused(
    tmp_path: Path, keywords: dict[str, Any], way_out: str
) -> None:
    with pytest.raises(ValueError, match=way_out):
        trainer(tmp_path, model(), **keywords)


def test_packing_says_what_it_cuts_off(tmp_path: Path) -> None:
    lengths = [len(row) for row in dataset(16)["input_ids"]]
    num_cut = sum(length > 20 for length in lengths)
    with pytest.warns(UserWarning, match=f"max_length=20 cuts {num_cut} of 16 rows of the train"):
        trainer(tmp_path, model(), packing=True, max_length=20)
    made = trainer(tmp_path, model(), packing=True, max_length=20, packing_strategy="bfd_split")
    assert made.train_dataset is not None
    assert sum(len(row) for row in made.train_dataset["input_ids"]) == sum(lengths)
