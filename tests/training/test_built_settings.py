"""Settings that are passed on to the libraries are refused before training, in a sentence."""

from pathlib import Path

import pytest

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.training.config import Run
from otr.training.settings import sft_config

pytestmark = pytest.mark.filterwarnings("ignore")

REFUSED = [
    ({"gradient_accumulation_steps": -1}, "gradient_accumulation_steps: must be at least 1"),
    ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: must be at least 1"),
    ({"num_train_epochs": -1}, "num_train_epochs: must be above 0, found -1"),
    ({"num_train_epochs": 0}, "num_train_epochs: must be above 0, found 0"),
    ({"num_train_epochs": float("inf")}, "num_train_epochs: must be a finite number"),
    ({"per_device_train_batch_size": 0}, "per_device_train_batch_size: must be at least 1"),
    ({"per_device_eval_batch_size": 0}, "per_device_eval_batch_size: must be at least 1"),
    ({"eval_accumulation_steps": 0}, "eval_accumulation_steps: must be at least 1"),
    ({"dataloader_num_workers": -1}, "dataloader_num_workers: must be at least 0"),
    ({"dataloader_persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
    ({"dataloader_prefetch_factor": 2}, "prefetch_factor"),
    ({"learning_rate": float("nan")}, "learning_rate: must be a finite number, found nan"),
    ({"learning_rate": -1.0}, "learning_rate: must be at least 0"),
    ({"max_grad_norm": float("nan")}, "max_grad_norm: must be a finite number"),
    ({"weight_decay": float("inf")}, "weight_decay: must be a finite number"),
    ({"adam_beta1": 2.0}, "Invalid beta parameter at index 0: 2.0"),
    ({"adam_beta2": 1.0}, "Invalid beta parameter at index 1: 1.0"),
    ({"adam_epsilon": -1.0}, "Invalid epsilon value"),
    ({"optim_args": "foo"}, "look at optim, optim_args"),
    ({"optim": "galore_adamw"}, "optim"),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "look at lr_scheduler_type, lr_scheduler_kwargs"),
    ({"lr_scheduler_kwargs": {"foo": 1}}, "unexpected keyword argument 'foo'"),
    (
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1.0}},
        "look at lr_scheduler_type",
    ),
    ({"lr_scheduler_type": "warmup_stable_decay"}, "look at lr_scheduler_type"),
    ({"warmup_steps": -1}, "warmup_steps"),
    ({"max_steps": 0}, "max_steps: must be at least 1, or -1"),
    ({"resume_from_checkpoint": "foo"}, "resumes from the newest whole checkpoint"),
]


def run_with(**training: object) -> Run:
    return Run.model_validate(
        {
            "model": "demo", "data": {"train": "rows.jsonl"}, "output_dir": "run",
            "training": {"use_cpu": True, **training},
        }
    )  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_a_setting_that_nothing_can_be_built_from_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        sft_config(run_with(**settings))
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("training")
    assert len(str(refusal.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "settings",
    [
        {"num_train_epochs": 0.5},
        {"num_train_epochs": 0, "max_steps": 3},
        {"max_grad_norm": float("inf")},
        {"learning_rate": 0.0},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 3}},
        {"lr_scheduler_type": "polynomial", "max_steps": 1},
        {"lr_scheduler_type": "cosine", "warmup_steps": 0.1},
        {"optim": "sgd", "optim_args": "momentum=0.9"},
        {"optim": "adafactor"},
        {"optim": "adamw_torch_fused"},
    ],
    ids=str,
)
def test_settings_that_can_be_built_from_are_taken(settings: dict[str, object]) -> None:
    assert sft_config(run_with(**settings)).output_dir == "run/checkpoints"


@pytest.mark.parametrize("command", ["train", "check"])
def test_the_commands_exit_with_status_2_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.write_jsonl(Path("rows.jsonl"), [{"prompt": "add 2 and 1 :", "completion": "ans 3 ."}] * 4)
    Path("recipe.yaml").write_text(
        "model: demo-weak\ndata: {train: rows.jsonl}\noutput_dir: run\n"
        "training: {adam_beta1: 2.0, use_cpu: true}\n"
    )
    assert main([command, "recipe.yaml"]) == 2
    assert "Invalid beta parameter" in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["train", "check"])
def test_a_hub_that_cannot_be_reached_is_said_before_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", unreachable)
    monkeypatch.chdir(tmp_path)
    runs.write_jsonl(Path("rows.jsonl"), [{"prompt": "add 2 and 1 :", "completion": "ans 3 ."}] * 4)
    Path("recipe.yaml").write_text(
        "model: demo-weak\ndata: {train: rows.jsonl}\noutput_dir: run\n"
        "training: {push_to_hub: true, hub_model_id: me/model, use_cpu: true, max_steps: 1}\n"
    )
    assert main([command, "recipe.yaml"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "'me/model' cannot be made on the hub: Name or service not known" in error
    assert not Path("run").exists()
