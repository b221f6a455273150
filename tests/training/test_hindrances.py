"""Weights that a step would leave as they are, and end tokens that an adapter freezes, are named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from otr import OTRTrainer
from otr.objectives import SFT
from otr.training.hindrances import hindrances, looks_untrained, unmoved_share
from otr.training.outlook import outlook

from .models import VOCABULARY, arguments, dataset, model, tokenizer

# The libraries warn of what they will change.
pytestmark = pytest.mark.filterwarnings("ignore")

END = {"<end>": 64}
LORA = {"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}


def trainer(folder: Path, inner: Any = None, *, rows: Any = None, **settings: Any) -> Any:
    lora = settings.pop("lora", None)
    return OTRTrainer(
        model=model() if inner is None else inner,
        args=arguments(folder, **settings),
        objective=SFT(),
        train_dataset=dataset() if rows is None else rows,
        processing_class=tokenizer(),
        peft_config=None if lora is None else LoraConfig(**lora),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("step", [1e-6, 5e-6, 1e-4, 1e-2])
def test_the_share_is_that_of_weights_that_adamw_leaves_as_they_are(dtype, step):
    torch.manual_seed(0)
    start = (torch.randn(20_000) * 0.02).to(dtype)
    start[:50] = 0
    weight = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([weight], lr=step, weight_decay=0.0, eps=1e-12)
    # Away from 0, where the next number is as far as the estimate says.
    weight.grad = -torch.where(start < 0, -1.0, 1.0).to(dtype)
    optimizer.step()
    measured = float((weight.detach() == start).float().mean())
    assert unmoved_share([start], step) == pytest.approx(measured, abs=0.01)


def test_a_large_tensor_is_sampled_over_all_of_it():
    large = torch.cat([torch.full((300_001,), 1e-9), torch.full((100_000,), 1.0)]).bfloat16()
    assert unmoved_share([large, torch.zeros(400_001).bfloat16()], 1e-5) == pytest.approx(
        1 / 8, abs=1e-3
    )


def test_sixteen_bit_weights_are_warned_of_with_the_measured_share(tmp_path):
    coarse = trainer(tmp_path, model(dtype=torch.bfloat16), learning_rate=5e-6)
    (line,) = hindrances(coarse, END)
    weights = [weight for weight in coarse.model.parameters() if weight.requires_grad]
    share = unmoved_share(weights, 5e-6)
    assert f"=5e-06 leaves {share:.1%} of the bfloat16 weights as they are" in line
    assert share > 0.9
    assert "load them in float32" in line


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        (torch.float32, {"learning_rate": 5e-6}),
        (torch.bfloat16, {"learning_rate": 0.1}),
        (torch.bfloat16, {"learning_rate": 5e-6, "optim": "sgd"}),
        # An adapter's own weights are float32.
        (torch.bfloat16, {"learning_rate": 5e-6, "lora": LORA}),
    ],
)
def test_weights_that_a_step_moves_or_that_are_not_trained_are_no_warning(
    tmp_path, dtype, settings
):
    assert hindrances(trainer(tmp_path, model(dtype=dtype), **settings), END) == ()


def with_row(row: Any) -> Any:
    made: Any = model()
    with torch.no_grad():
        made.get_output_embeddings().weight[120] = row(made.get_output_embeddings().weight)
    return made


UNTRAINED = {
    "zero": lambda weight: 0.0,
    "tiny": lambda weight: 1e-6 * weight[7],
    "copy": lambda weight: weight[7],
    "copy with noise": lambda weight: weight[7] + 1e-4 * weight[8],
}


@pytest.mark.parametrize("kind", UNTRAINED)
def test_an_untrained_end_token_that_an_adapter_freezes_is_warned_of(tmp_path, kind):
    inner = with_row(UNTRAINED[kind])
    (line,) = hindrances(trainer(tmp_path, inner, lora=LORA), END)
    assert "<end>, its row of the head looks untrained" in line and "modules_to_save" in line
    # Nothing freezes it without an adapter, or with the head trained beside it.
    assert hindrances(trainer(tmp_path, with_row(UNTRAINED[kind])), END) == ()
    whole = {**LORA, "modules_to_save": ["lm_head"]}
    inner = with_row(UNTRAINED[kind])
    assert hindrances(trainer(tmp_path, inner, lora=whole), END) == ()


def test_an_end_token_less_probable_than_any_is_warned_of_if_it_is_frozen(tmp_path):
    frozen = trainer(tmp_path, lora=LORA)
    assert hindrances(frozen, END, 2 / VOCABULARY) == hindrances(frozen, END) == ()
    (line,) = hindrances(frozen, END, 0.5 / VOCABULARY)
    assert f"its probability of {0.5 / VOCABULARY:.1e}" in line


def test_rows_that_differ_look_trained():
    made: Any = model()
    weight = made.get_output_embeddings().weight
    assert not any(looks_untrained(weight, number) for number in range(0, VOCABULARY, 10))


def test_the_outlook_gives_the_end_tokens_probability(tmp_path):
    rows = dataset().map(
        lambda row: {"input_ids": [*row["input_ids"], 120], "labels": [*row["labels"], 120]}
    )
    looked_at = trainer(tmp_path, rows=rows)
    found = outlook(looked_at, [120])
    probs = []
    for row in rows.to_list():
        logits = looked_at.model(torch.tensor([row["input_ids"]])).logits[0, -2]
        probs.append(float(logits.double().softmax(-1)[120]))
    assert found.num_ends == len(rows)
    assert found.end_prob == pytest.approx(sum(probs) / len(probs), rel=1e-5)
    assert f"end tokens {found.end_prob:.2g} ({len(rows)} ends" in "\n".join(found.lines())
    assert outlook(looked_at).end_prob is None
