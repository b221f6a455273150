"""The memory estimate counts what can be counted."""

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from otr.training.memory import memory_estimate
from tests.training.models import VOCABULARY, arguments, model

pytestmark = pytest.mark.filterwarnings("ignore")


def test_weights_gradients_and_optimizer_are_counted(tmp_path: Path) -> None:
    of = model()
    num_bytes = 4 * sum(value.numel() for value in of.parameters())
    found = memory_estimate(of, 100, arguments(tmp_path))
    assert found.weights == found.gradients == num_bytes
    assert found.optimizer == 2 * num_bytes
    assert found.head == 8 * 100 * VOCABULARY * 4 + VOCABULARY * 32 * 4
    assert found.total > 4 * num_bytes and found.available > 2**30


def test_an_anchors_model_counts_and_is_named_only_where_there_is_one(tmp_path: Path) -> None:
    alone = memory_estimate(model(), 100, arguments(tmp_path))
    found = memory_estimate(model(), 100, arguments(tmp_path), reference=model())
    assert found.reference == found.weights and found.total == alone.total + found.reference
    assert "reference" in found.lines()[0] and "reference" not in alone.lines()[0]


def test_an_adapter_leaves_gradients_and_the_head_small(tmp_path: Path) -> None:
    of = get_peft_model(model(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    found = memory_estimate(of, 100, arguments(tmp_path))
    trained = 4 * sum(value.numel() for value in of.parameters() if value.requires_grad)
    assert found.gradients == trained < 0.1 * found.weights
    assert found.head == 8 * 100 * VOCABULARY * 4


def test_activations_grow_with_the_batch_and_shrink_under_checkpointing(tmp_path: Path) -> None:
    of = model(num_hidden_layers=12)
    small = memory_estimate(of, 100, arguments(tmp_path, per_device_train_batch_size=2))
    large = memory_estimate(of, 100, arguments(tmp_path, per_device_train_batch_size=4))
    checkpointed = memory_estimate(
        of, 100, arguments(tmp_path, per_device_train_batch_size=4, gradient_checkpointing=True)
    )
    assert large.activations == 2 * small.activations
    assert checkpointed.activations < 0.5 * large.activations


def test_what_will_not_fit_is_said(tmp_path: Path) -> None:
    found = memory_estimate(model(), 10**9, arguments(tmp_path))
    assert any("this will not fit" in line for line in found.lines())
