"""Uploads during training: what is whole arrives, and nothing else; what fails is told."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from peft import LoraConfig

from otr import OTR, OTRTrainer, runs
from otr.errors import UserError
from otr.training import pipeline
from otr.training.config import Run
from otr.training.hub import PUSHED
from tests.training.models import arguments, dataset, model, tokenizer
from tests.training.stand_in_hub import StandInHub, hub

__all__ = ["hub"]
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = {"README.md", "config.json", "generation_config.json", "model.safetensors",
    "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
STATE = {"manifest.json", "optimizer.pt", "otr_state_0.json", "rng_state.pth", "scheduler.pt",
    "trainer_state.json"}  # fmt: skip


def pushing(folder: Path, strategy: str, **changes: Any) -> OTRTrainer:
    lora = changes.pop("peft_config", None)
    settings: dict[str, Any] = {
        "max_steps": 3, "save_strategy": "steps", "save_steps": 1, "push_to_hub": True,
        "hub_model_id": "me/model", "hub_strategy": strategy, "hub_always_push": True,
    }  # fmt: skip
    return OTRTrainer(
        model=model(),
        args=arguments(folder, **{**settings, **changes}),
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=8),
        peft_config=lora,
    )


def on_disk(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_at_the_end_the_model_arrives_as_it_lies_on_disk(hub: StandInHub, tmp_path: Path) -> None:
    trainer = pushing(tmp_path / "out", "end")
    trainer.train()
    assert hub.commits == []
    skipped = tmp_path / "out" / runs.SKIPPED
    skipped.mkdir()
    (skipped / "step-1.json").write_text("rows of somebody's data")
    trainer.save_model()
    assert set(hub.files) == MODEL
    there = on_disk(tmp_path / "out")
    assert hub.files == {name: there[name] for name in MODEL}
    assert [message for message, _ in hub.commits] == ["Model save"]


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints"])
def test_each_checkpoint_arrives_whole_and_states_of_optimizers_only_where_asked_for(
    hub: StandInHub, strategy: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "events.log").write_text("kept by the user")
    # At most one is kept, so that the first ones are removed while they are uploaded.
    trainer = pushing(out, strategy, save_total_limit=None if "all" in strategy else 1)
    hub.held.clear()
    usual = trainer._finish_current_push

    def released() -> None:
        hub.held.set()
        usual()

    trainer._finish_current_push = released  # type: ignore[method-assign]
    trainer.train()
    whole = {f"checkpoint-{step}": on_disk(out / f"checkpoint-{step}") for step in (1, 2, 3)}
    assert set(whole["checkpoint-3"]) == (MODEL - {"README.md"}) | STATE
    expected = {name: whole["checkpoint-3"][name] for name in MODEL - {"README.md"}}
    expected |= {name: (out / name).read_bytes() for name in ("README.md", "events.log")}
    kept = {
        "every_save": {}, "checkpoint": {"last-checkpoint": "checkpoint-3"},
        "all_checkpoints": {name: name for name in whole},
    }[strategy]  # fmt: skip
    for place, name in kept.items():
        expected |= {f"{place}/{file}": content for file, content in whole[name].items()}
    assert hub.files == expected
    models = [at["model.safetensors"] for message, at in hub.commits if "checkpoint" not in message]
    assert len(set(models)) == 3
    assert not (out / PUSHED).exists() and not (out / "model.safetensors").exists()


def test_a_checkpoint_from_the_hub_is_resumed_to_the_same_weights(
    hub: StandInHub, tmp_path: Path
) -> None:
    whole = pushing(tmp_path / "whole", "end", max_steps=3, push_to_hub=False)
    whole.train()
    pushing(tmp_path / "first", "checkpoint", max_steps=2).train()
    for name, content in hub.files.items():
        if name.startswith("last-checkpoint/"):
            path = tmp_path / "loaded" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    resumed = pushing(tmp_path / "second", "end", max_steps=3, push_to_hub=False)
    resumed.train(resume_from_checkpoint=str(tmp_path / "loaded/last-checkpoint"))
    assert whole.model is not None and resumed.model is not None
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert one.equal(other)


def test_the_last_checkpoint_arrives_also_where_an_upload_was_under_way(
    hub: StandInHub, tmp_path: Path
) -> None:
    trainer = pushing(tmp_path / "out", "every_save", hub_always_push=False)
    hub.held.clear()
    usual = trainer._finish_current_push

    def released() -> None:
        hub.held.set()
        usual()

    trainer._finish_current_push = released  # type: ignore[method-assign]
    trainer.train()
    assert [message for message, _ in hub.commits] == [
        "Training in progress, step 1",
        "Training in progress, step 3",
    ]
    last = tmp_path / "out/checkpoint-3/model.safetensors"
    assert hub.files["model.safetensors"] == last.read_bytes()


@pytest.mark.filterwarnings("default::UserWarning")
def test_an_upload_that_fails_is_told_with_its_error_and_training_goes_on(
    hub: StandInHub, tmp_path: Path
) -> None:
    hub.refused = "step 2"
    trainer = pushing(tmp_path / "out", "every_save")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    told = [str(each.message) for each in caught if "upload of" in str(each.message)]
    (line,) = told
    assert line.startswith("the upload of checkpoint-2 (model) to me/model failed: HfHubHTTPError")
    assert "the storage of me is full" in line
    assert [message for message, _ in hub.commits] == [
        "Training in progress, step 1",
        "Training in progress, step 3",
    ]
    assert (tmp_path / "out/checkpoint-3/manifest.json").is_file()


def test_an_adapter_arrives_without_its_base(hub: StandInHub, tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    pushing(tmp_path / "out", "every_save", peft_config=lora, max_steps=1).train()
    assert set(hub.files) == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip


def test_saving_changes_no_file_of_the_user_s(tmp_path: Path) -> None:
    mine = {"README.md": b"my notes", "training_args.bin": b"mine", "model.py": b"pass"}
    for name, content in mine.items():
        (tmp_path / name).write_bytes(content)
    pushing(tmp_path, "end", push_to_hub=False, max_steps=2).train()
    assert {name: (tmp_path / name).read_bytes() for name in mine} == mine
    assert (tmp_path / "checkpoint-2/manifest.json").is_file()


def test_the_card_names_objective_settings_and_what_was_measured(tmp_path: Path) -> None:
    trainer = OTRTrainer(
        model=model(),
        args=arguments(
            tmp_path / "mine", max_steps=2, save_strategy="steps", save_steps=1,
            eval_strategy="steps", eval_steps=1, hub_token="hf_secret",
        ),
        train_dataset=dataset(),
        eval_dataset=dataset(8),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=8, temperature=1.5),
        normalization="sequence",
    )  # fmt: skip
    trainer.train()
    card = ModelCard.load(tmp_path / "mine/README.md", ignore_metadata_errors=False)
    evaluated = [row for row in trainer.state.log_history if "eval_nll" in row][-1]
    for words in (
        "# mine\n", "`otr with num_rollouts=8, temperature=1.5`", "normalization: sequence",
        "over 2 steps", f"| nll | {evaluated['eval_nll']:.6g} |", "| learning_rate | 0.001 |", "anchor: null",
        "64 examples", "step 2:",
    ):  # fmt: skip
        assert words in card.content, words
    assert "hf_secret" not in card.content and str(tmp_path) not in card.content
    metadata = card.data.to_dict()
    assert metadata["tags"] == ["trl", "otr"]
    assert metadata["library_name"] == "transformers"


def run_of(folder: Path, **training: Any) -> Run:
    runs.write_jsonl(folder / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    return Run.model_validate(
        {
            "model": "demo-weak",
            "data": {"train": str(folder / "rows.jsonl")},
            "training": {"max_steps": 1, "per_device_train_batch_size": 2, **training},
            "output_dir": str(folder / "run"),
        }
    )


def test_a_run_s_model_has_a_card_with_the_hash_of_its_data_and_arrives_as_it_is(
    hub: StandInHub, tmp_path: Path
) -> None:
    settings = {"push_to_hub": True, "hub_model_id": "me/sums", "save_steps": 1}
    folder = pipeline.train(run_of(tmp_path, **settings), progress=False)
    assert [message for message, _ in hub.commits] == [
        "Training in progress, step 1",
        "End of training",
    ]
    assert set(hub.commits[0][1]) == set(hub.files)
    card = (folder / runs.MODEL / "README.md").read_text()
    digest = runs.file_sha256(tmp_path / "rows.jsonl")
    assert f"- `rows.jsonl`, SHA-256 `{digest}`" in card and "# sums\n" in card
    assert hub.files == on_disk(folder / runs.MODEL)
    assert [path.name for path in (folder / runs.CHECKPOINTS).iterdir()] == ["checkpoint-1"]


def test_a_run_s_model_that_could_not_be_uploaded_is_whole_and_the_command_is_told(
    hub: StandInHub, tmp_path: Path
) -> None:
    hub.refused = "End of training"
    run = run_of(tmp_path, push_to_hub=True, hub_model_id="me/sums", hub_strategy="end")
    with pytest.raises(
        UserError, match=r"is whole, but its upload failed: (.|\n)*`hf upload me/sums"
    ):
        pipeline.train(run, progress=False)
    assert (tmp_path / "run/model/model.safetensors").is_file()


def test_a_run_that_would_be_uploaded_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set training\.hub_model_id"):
        pipeline.prepare(run_of(tmp_path, push_to_hub=True))
