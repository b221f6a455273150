"""The plugin in axolotl's own trainer: the loss and the updates are those of the full logits."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from otr import OTR, runs
from otr.integrations.fused_model import FusedHead
from otr.training.token_keys import step_seed
from tests.integrations.test_fused_model import expected_loss
from tests.training.models import dataset, model, tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        find_spec("axolotl") is None, reason="axolotl is not installed; see make plugins"
    ),
]


@pytest.fixture(autouse=True)
def no_state_of_axolotl(monkeypatch: pytest.MonkeyPatch) -> None:
    """axolotl keeps accelerate's state for itself, beyond the end that conftest.py puts to it."""
    from axolotl.utils import distributed  # type: ignore[import-not-found]

    monkeypatch.setattr(distributed, "distributed_state", None)


def configured(folder: Path, **changes: Any) -> Any:
    """axolotl's configuration of a short run on the CPU, as its command reads it."""
    from axolotl.cli.config import load_cfg  # type: ignore[import-not-found]

    model(num_hidden_layers=1).save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    rows = dataset(16).map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})
    runs.write_jsonl(folder / "rows.jsonl", rows.to_list())
    settings = {
        "base_model": str(folder / "base"),
        "plugins": ["otr.integrations.axolotl.ObjectivePlugin"],
        "objective": {"name": "otr", "num_rollouts": 32},
        "datasets": [{"path": str(folder / "rows.jsonl"), "ds_type": "json", "type": ""}],
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        "sequence_len": 64,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "optimizer": "adamw_torch",
        "lr_scheduler": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": 5,
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "device_map": "cpu",
        "use_cpu": True,
    } | changes
    # Every JSON file is a YAML file, whatever the version of YAML thinks of a plain no.
    runs.write_json(folder / "axolotl.yaml", settings)
    return load_cfg(str(folder / "axolotl.yaml"))


def test_the_trainer_of_axolotl_has_the_loss_of_the_full_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from axolotl.common.datasets import load_datasets  # type: ignore[import-not-found]
    from axolotl.train import setup_model_and_trainer  # type: ignore[import-not-found]

    monkeypatch.chdir(tmp_path)
    cfg = configured(tmp_path)
    trainer, of, *_ = setup_model_and_trainer(cfg, load_datasets(cfg=cfg))
    head = of.fused_head
    assert isinstance(head, FusedHead) and head.objective == OTR(num_rollouts=32)

    batch = {
        name: value.cpu() for name, value in next(iter(trainer.get_train_dataloader())).items()
    }
    kept = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    expected = expected_loss(model(num_hidden_layers=1), kept, head.objective, step_seed(5, 0), 50)
    of.train()
    found = trainer.compute_loss(of, dict(batch), num_items_in_batch=torch.tensor(50))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

    before = {name: value.detach().clone() for name, value in of.named_parameters()}
    trainer.train()
    assert head.step == 1 and head.progress == 0.5
    assert min(float((value - before[name]).norm()) for name, value in of.named_parameters()) > 0


def test_a_wrong_option_is_refused_with_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_rollout: otr has no such option"):
        configured(tmp_path, objective={"name": "otr", "num_rollout": 32})
