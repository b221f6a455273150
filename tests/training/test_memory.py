"""The memory estimate counts what can be counted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from otr import OTRTrainer
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.errors import UserError
from otr.training.config import Run
from otr.training.memory import memory_estimate, out_of_memory_words
from otr.training.pipeline import train
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


@pytest.mark.parametrize("on", ["processor", "accelerator"])
def test_running_out_of_memory_names_the_settings_and_the_figures(
    tmp_path: Path, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_demonstrations(REGIMES[0], 0, tmp_path / "rows.jsonl")
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": data_section(tmp_path / "rows.jsonl"),
            "training": {"max_steps": 4, "per_device_train_batch_size": 5},
            "output_dir": str(tmp_path / "run"),
        }
    )
    usual = OTRTrainer.compute_loss

    def greedy(trainer: OTRTrainer, *words: Any, **keywords: Any) -> Any:
        if trainer.state.global_step == 2:
            if on == "accelerator":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            torch.empty(1 << 55)
        return usual(trainer, *words, **keywords)

    monkeypatch.setattr(OTRTrainer, "compute_loss", greedy)
    with pytest.raises(UserError) as caught:
        train(run, progress=False)
    message = str(caught.value)
    assert "out of memory in step 3, with 5 rows of up to 31 tokens" in message
    assert "per_device_train_batch_size (now 5" in message and "GiB used at most" in message
    assert "gradient_checkpointing" in message


def test_other_errors_are_not_taken_for_it(tmp_path: Path) -> None:
    assert out_of_memory_words(RuntimeError("size mismatch"), arguments(tmp_path), 1, 9) == ""
