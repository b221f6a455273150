"""What `otr check` says a step takes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from otr.training.estimate import setting_of, step_estimate
from otr.training.hardware import H100
from otr.training.setting import Engine
from tests.training.models import arguments, model

pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_anchors_model_counts_and_is_named_only_where_there_is_one(tmp_path: Path) -> None:
    settings = arguments(tmp_path)
    alone = step_estimate(model(), 100, settings, processor=H100)
    found = step_estimate(model(), 100, settings, model(), processor=H100)
    assert found.reference == sum(4 * value.numel() for value in model().parameters())
    assert found.total == alone.total + found.reference
    assert "reference" in found.lines()[0] and "reference" not in alone.lines()[0]


def test_settings_are_read_from_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = arguments(
        tmp_path, gradient_checkpointing=True, gradient_accumulation_steps=3, optim="adamw_bnb_8bit"
    )
    found = setting_of(model(), 100, settings)
    assert found.engine is Engine.ONE and found.is_checkpointed and found.accumulation == 3
    assert (found.weights, found.compute, found.optimizer_bits) == ("float32", "float32", 8)
    short = setting_of(model().bfloat16(), 100, settings)
    assert (short.weights, short.compute) == ("bfloat16", "bfloat16")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert setting_of(model(), 100, settings).engine is Engine.FSDP2


def test_weights_of_four_bits_count_as_what_they_take(tmp_path: Path) -> None:
    plain, packed = model(), model()
    settings = arguments(tmp_path, bf16=True)
    saved = 0
    for layer in packed.model.layers:
        linear = layer.mlp.up_proj
        halves = nn.Parameter(
            torch.zeros(linear.weight.numel() // 2, 1, dtype=torch.uint8), requires_grad=False
        )
        halves.quant_state = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
            shape=linear.weight.shape, absmax=torch.zeros(linear.weight.numel() // 64)
        )
        # Beside four bytes each, autocast would keep two.
        saved += linear.weight.numel() * (4 + 2) - halves.nbytes - linear.weight.numel() // 64 * 4
        linear.weight = halves
    for each in (plain, packed):
        for weight in each.parameters():
            weight.requires_grad_(False)
        each.lm_head.weight.requires_grad_(True)
    one, other = (step_estimate(each, 100, settings, processor=H100) for each in (plain, packed))
    assert one.setting == other.setting and one.time == other.time
    assert one.memory.weights - other.memory.weights == saved > 0


def test_what_will_not_fit_is_said_with_what_to_change(tmp_path: Path) -> None:
    many = step_estimate(model(), 10**9, arguments(tmp_path), processor=H100)
    said = "\n".join(many.lines())
    assert "most of it activations" in said
    assert "will not fit: lower training.per_device_train_batch_size" in said
    assert "gradient_checkpointing=true" in said
    few = step_estimate(model(), 1, arguments(tmp_path), processor=H100)
    assert few.fits and "will not fit" not in "\n".join(few.lines())
    small = replace(few, available=1000, memory=replace(few.memory, optimizer=1e9))
    assert "will not fit: use lora" in "\n".join(small.lines())


def test_time_names_the_processor_and_where_its_figure_is_from(tmp_path: Path) -> None:
    found = step_estimate(
        model(), 100, arguments(tmp_path), processor=H100, mean_length=50, supervised_share=0.5
    )
    whole = step_estimate(model(), 100, arguments(tmp_path), processor=H100)
    assert found.time.head == pytest.approx(whole.time.head / 4)
    said = "\n".join(found.lines())
    assert "s a step (layers" in said and "on H100" in said and "published: torchtitan" in said
