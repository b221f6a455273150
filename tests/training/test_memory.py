"""Too little memory is said in words."""

from pathlib import Path
from typing import Any

import pytest
import torch

from otr import OTRTrainer
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.errors import UserError
from otr.training.config import Run
from otr.training.memory import out_of_memory_words
from otr.training.pipeline import train
from tests.training.models import arguments

pytestmark = pytest.mark.filterwarnings("ignore")


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
