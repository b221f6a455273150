"""Two processes stop, save and keep time together."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from otr import OTRTrainer, runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.pretrained import load_model
from otr.training.checkpoints import why_broken
from reliability.ends import differing, end_of
from tests.processes import launch
from tests.training import models


@pytest.mark.slow
def test_a_budget_is_the_first_processs_and_all_have_its_learning_rates(tmp_path: Path) -> None:
    launch(2, "tests.training.two_clocks", str(tmp_path))
    one, two = (json.loads((tmp_path / f"process-{n}.json").read_text()) for n in range(2))
    # Two seconds of the first process's quarters.
    assert one["rates"] == pytest.approx([1e-3 * (1 - step / 8) for step in range(1, 9)])
    assert two["rates"] == one["rates"]
    assert two["weights"] == one["weights"]


HOW: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp2": {"fsdp": True, "fsdp_config": {"version": 2}},
    "shards": {
        "fsdp": True,
        "fsdp_config": {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"},
    },
}  # fmt: skip
"""How two processes share a run: each with all weights, or its shard, saved whole or in shards."""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that never stopped, and runs that were stopped in their fourth step and went on."""
    folder = tmp_path_factory.mktemp("resumed")
    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    for how, settings in HOW.items():
        for name in (f"whole-{how}", f"broken-{how}"):
            run = {
                "model": "demo-weak",
                "data": data_section(folder / "rows.jsonl") | {"limit": 40},
                "objective": {"name": "otr", "num_rollouts": 16},
                "training": {
                    "max_steps": 8, "save_steps": 8, "per_device_train_batch_size": 4,
                    "learning_rate": 1e-3, "logging_steps": 3, "ddp_backend": "gloo", **settings,
                },
                "samples": {"every_steps": 4, "max_new_tokens": 4},
                "output_dir": str(folder / name),
            }  # fmt: skip
            (folder / f"{name}.json").write_text(json.dumps(run))
    first = [
        f"{part}:{step}"
        for how in HOW
        for part, step in ((f"whole-{how}", 0), (f"broken-{how}", 4))
    ]
    launch(2, "tests.training.two_resumed", str(folder), *first)
    stopped = folder / "broken-shards" / runs.CHECKPOINTS / "checkpoint-4"
    shutil.copytree(stopped, folder / "checkpoint-4")
    again = [*(f"broken-{how}:0" for how in HOW), "broken-shards:again"]
    launch(2, "tests.training.two_resumed", str(folder), *again)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_a_signal_to_one_process_stops_and_saves_both_and_they_go_on_bit_by_bit(
    resumed: Path, how: str
) -> None:
    for rank in range(2):
        said = json.loads((resumed / f"broken-{how}-4-{rank}.json").read_text())
        assert "goes on from" in said["words"] and "checkpoint-4" in said["words"]
        said = json.loads((resumed / f"broken-{how}-0-{rank}.json").read_text())
        assert said["words"] == "finished"
    ends = [end_of(resumed / f"{name}-{how}", 8) for name in ("whole", "broken")]
    assert differing(*ends) == []
    assert [row["step"] for row in ends[0]["samples"]] == [4, 4, 8, 8]


@pytest.mark.slow
def test_one_process_of_a_machine_tokenizes(resumed: Path) -> None:
    for rank in range(2):
        said = json.loads((resumed / f"whole-ddp-0-{rank}.json").read_text())
        assert said["num_tokenized"] == (1 if rank == 0 else 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fsdp2", "shards"])
def test_a_sharded_model_is_written_whole(resumed: Path, how: str) -> None:
    """It loads, and is the model of a run that was not sharded, up to rounding."""
    loaded = AutoModelForCausalLM.from_pretrained(resumed / f"whole-{how}" / runs.MODEL)
    plain = AutoModelForCausalLM.from_pretrained(resumed / "whole-ddp" / runs.MODEL)
    for one, other in zip(loaded.parameters(), plain.parameters(), strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm()
    begin = load_model("demo-weak")
    assert any(
        not torch.equal(a, b) for a, b in zip(loaded.parameters(), begin.parameters(), strict=True)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_shards_are_read_only_once_their_hashes_are_right(resumed: Path) -> None:
    """Their metadata is a pickle, and could run anything."""
    metadata = resumed / "checkpoint-4" / "pytorch_model_fsdp_0" / ".metadata"
    assert why_broken(resumed / "checkpoint-4") is None
    metadata.write_bytes(metadata.read_bytes() + b"x")
    words = why_broken(resumed / "checkpoint-4")
    assert words is not None and ".metadata" in words
    trainer = OTRTrainer(
        model=models.model(),
        args=models.arguments(resumed / "trainer"),
        train_dataset=models.dataset(),
        processing_class=models.tokenizer(),
    )
    with pytest.raises(ValueError, match="is not whole"):
        trainer.train(resume_from_checkpoint=str(resumed / "checkpoint-4"))
    trainer.state.best_model_checkpoint = str(resumed / "checkpoint-4")
    with pytest.raises(ValueError, match="is not whole"):
        trainer._load_best_model()
