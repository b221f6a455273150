"""Short runs of the same rows in one process or several, one after the other in the same processes.

Started in each process, or called in the test's own. The first process writes of each run
its weights, its logged figures and its evaluation.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForCausalLM, TrainerCallback

from otr import OTR, OTRTrainer
from tests.training.fsdp_on_cpu import shard_on_cpu
from tests.training.models import VOCABULARY, arguments, dataset, model, tokenizer

NUM_ROWS = 29
"""Three steps of eight rows, and one of five."""

FSDP2: dict[str, Any] = {"fsdp": True, "fsdp_config": {"version": 2}}
FLOAT32: dict[str, Any] = {"dtype": torch.float32, "learning_rate": 1e-4}
"""DeepSpeed takes nothing wider."""
ZERO3: dict[str, Any] = {
    **FLOAT32,
    "deepspeed": {
        "zero_optimization": {
            "stage": 3,
            "stage3_gather_16bit_weights_on_model_save": True,
            # However small: otherwise these weights would stay whole.
            "stage3_param_persistence_threshold": 0,
        },
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    },
}

SPLITS: dict[str, dict[str, Any]] = {
    "8x1": {"per_device_train_batch_size": 8},
    "4x2": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    "ddp": {"per_device_train_batch_size": 4},
    "ddp-2": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "fsdp2": {"per_device_train_batch_size": 4, **FSDP2},
    "fsdp2-2": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, **FSDP2},
    "8x1-float32": {"per_device_train_batch_size": 8, **FLOAT32},
    "zero3": {"per_device_train_batch_size": 4, **ZERO3},
    "zero3-2": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, **ZERO3},
}
"""Eight rows a step; the first two in one process, the others in two."""


def rows() -> Dataset:
    """Rows in order, of which the second process of two has few supervised tokens in the first step
    and none in the second."""
    found = []
    for index, row in enumerate(dataset(NUM_ROWS)):
        ids, labels = row["input_ids"], row["labels"]  # type: ignore[index]
        if index % 8 >= 4 and index < 16:
            labels = [-100] * (len(ids) - 1) + [ids[-1] if index < 8 else -100]
        found.append({"input_ids": ids, "labels": labels})
    return Dataset.from_list(found)


def made(folder: Path, kind: str, dtype: torch.dtype) -> nn.Module:
    """A model that is loaded, with the same weights in every process."""
    base = folder / ("tied" if kind == "tied" else "untied")
    found = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    if kind == "frozen":
        found.get_output_embeddings().requires_grad_(False)  # type: ignore[union-attr]
    if kind == "lora":
        torch.manual_seed(5)
        settings = LoraConfig(
            task_type="CAUSAL_LM", r=2, target_modules="all-linear", init_lora_weights=False
        )
        return get_peft_model(found, settings).to(dtype)
    return found


def write_models(folder: Path) -> None:
    """The models that all runs begin with."""
    for kind in ("untied", "tied"):
        model("llama", tie_word_embeddings=kind == "tied").double().save_pretrained(folder / kind)
    # Which two processes can share evenly.
    model("llama", vocab_size=VOCABULARY + 1).save_pretrained(folder / "even")


def trainer_of(folder: Path, split: str, kind: str, **changes: Any) -> OTRTrainer:
    settings: dict[str, Any] = {
        "max_steps": 6, "per_device_eval_batch_size": 4,
        "train_sampling_strategy": "sequential", "dataset_kwargs": {"skip_prepare_dataset": True},
    }  # fmt: skip
    if "WORLD_SIZE" in os.environ:
        settings["ddp_backend"] = "gloo"
    settings = {**settings, **SPLITS[split], **changes}
    dtype = settings.pop("dtype", torch.float64)
    config = arguments(folder / "trainer", **settings)
    return OTRTrainer(
        model=made(folder, kind, dtype),
        args=config,
        train_dataset=rows(),
        eval_dataset=dataset(13, seed=2),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=32),
    )


def weights_of(trainer: OTRTrainer) -> dict[str, torch.Tensor]:
    """Whole weights, on every process."""
    wrapped = trainer.model_wrapped
    if trainer.is_deepspeed_enabled:
        import deepspeed  # pyright: ignore[reportMissingImports]

        inner = trainer.accelerator.unwrap_model(wrapped)
        with deepspeed.zero.GatheredParameters(list(inner.parameters())):
            return {name: value.detach().clone() for name, value in inner.named_parameters()}
    inner = trainer.accelerator.unwrap_model(trainer.model)
    found = {}
    for name, value in inner.named_parameters():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        found[name] = whole.detach().clone().contiguous()
    return found


def check_is_split(trainer: OTRTrainer, split: str) -> None:
    """The model is in the hands that the split is named after."""
    name = type(trainer.model_wrapped).__name__
    head = trainer.accelerator.unwrap_model(trainer.model).get_output_embeddings().weight  # type: ignore
    if split.startswith("zero3"):
        assert name == "DeepSpeedEngine" and head.numel() == 0 and head.ds_numel > 0
    elif split.startswith("fsdp2"):
        assert isinstance(trainer.model_wrapped, FSDPModule)
        assert 2 * head.to_local().numel() <= head.numel() + head.shape[1]
    elif split.startswith("ddp"):
        assert name == "DistributedDataParallel"


def run(folder: Path, split: str, kind: str) -> None:
    """One run; what came of it lies in `folder`."""
    trainer = trainer_of(folder, split, kind)
    trainer.train()
    check_is_split(trainer, split)
    evaluation = trainer.evaluate()
    weights = weights_of(trainer)
    if trainer.is_world_process_zero():
        assert next(iter(weights.values())).shape[-1] != VOCABULARY
        save_file(weights, folder / f"{split}-{kind}.safetensors")
        lines = [line for line in trainer.state.log_history if "loss" in line]
        found = {"lines": lines, "evaluation": evaluation}
        (folder / f"{split}-{kind}.json").write_text(json.dumps(found))


class Moves(TrainerCallback):
    """Whether each step changed the weights; makes one number of the second process's share of the
    fifth step's gradient not finite."""

    def __init__(self, trainer: OTRTrainer) -> None:
        self.trainer = trainer
        self.before: dict[str, torch.Tensor] = {}
        self.found: list[bool] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.before = weights_of(self.trainer)

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        gradient = model.get_output_embeddings().weight.grad
        if state.global_step == 4 and args.process_index == 1 and gradient is not None:
            gradient.to_local()[0, 0] = torch.nan

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = weights_of(self.trainer)
        self.found.append(any(not torch.equal(self.before[name], now[name]) for name in now))


def guarded(folder: Path, split: str) -> None:
    """A run in which the second process's third loss, and later a part of its gradient, are not finite."""
    trainer = trainer_of(folder, split, "untied")
    moves = Moves(trainer)
    trainer.callback_handler.callbacks.insert(0, moves)
    usual = trainer.forward_with_head

    def forward(*words: Any, **keywords: Any) -> Any:
        head, outputs = usual(*words, **keywords)
        if trainer.args.process_index == 1 and trainer.state.global_step == 2:
            head = dataclasses.replace(head, loss=head.loss * torch.inf)
        return head, outputs

    trainer.forward_with_head = forward  # type: ignore[method-assign]
    trainer.train()
    path = folder / f"{split}-guarded-{trainer.args.process_index}.json"
    path.write_text(json.dumps(moves.found))


def resumed(folder: Path, split: str) -> None:
    """Whether a run that goes on from its third step ends bit by bit as the one that wrote it."""
    saved = {"save_strategy": "steps", "save_steps": 3}
    whole = trainer_of(folder, split, "untied", **saved)
    whole.train()
    again = trainer_of(folder, split, "untied", **saved)
    again.train(resume_from_checkpoint=str(folder / "trainer" / "checkpoint-3"))
    ours, theirs = weights_of(whole), weights_of(again)
    same = all(torch.equal(ours[name], theirs[name]) for name in ours)
    path = folder / f"{split}-resumed-{again.args.process_index}.json"
    path.write_text(json.dumps(same))


def tensor_parallel(folder: Path) -> None:
    """What is said of a model whose head is split over the processes."""
    config = arguments(folder / "trainer", ddp_backend="gloo")
    split = AutoModelForCausalLM.from_pretrained(folder / "even", tp_plan="auto")
    try:
        OTRTrainer(model=split, args=config, train_dataset=rows(), processing_class=tokenizer())
    except ValueError as error:
        (folder / "tensor-parallel.txt").write_text(str(error))


def main(folder: Path, *cases: str) -> None:
    if any(case.startswith("fsdp2") for case in cases):
        shard_on_cpu()
    if any(case.startswith("zero3") for case in cases):
        import deepspeed  # pyright: ignore[reportMissingImports]

        deepspeed.init_distributed("gloo")
    for case in cases:
        split, kind = case.split(":")
        if kind == "guarded":
            guarded(folder, split)
        elif kind == "resumed":
            resumed(folder, split)
        elif kind == "tensor-parallel":
            tensor_parallel(folder)
        else:
            run(folder, split, kind)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
