"""What several processes may do to a model's weights, and what of it the fused head can follow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils.fsdp_utils import fsdp2_canonicalize_names
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


def check_unsplit(model: Any, config: Any) -> None:
    """Raises: ValueError if tensor parallelism has split the model's head, or is to.

    FSDP2's weights are DTensors as well, but whole again while their module's forward runs. They are
    told apart by the names of the mesh's dimensions; a mesh without names is FSDP2's own only if
    the model is an FSDP module.
    """
    parallelism = getattr(config, "parallelism_config", None)
    options = getattr(config, "model_init_kwargs", None)
    split = parallelism is not None and parallelism.tp_enabled
    split |= isinstance(options, dict) and options.get("tp_plan") is not None
    if isinstance(model, nn.Module):
        plan = getattr(model, "tp_plan", None) or {}
        split |= (getattr(model, "tp_size", None) or 1) > 1 and any("head" in key for key in plan)
        find_head = getattr(model, "get_output_embeddings", None)
        weight = getattr(find_head() if find_head else None, "weight", None)
        if isinstance(weight, DTensor):
            names = weight.device_mesh.mesh_dim_names
            split |= "tp" in names if names else not isinstance(model, FSDPModule)
    if split:
        raise ValueError(
            "the model's head is split over processes (tensor parallelism), and a loss fused into it "
            "needs whole rows of logits; load the model without tp_plan, and use FSDP2 or ZeRO-3 to "
            "spread its memory"
        )


def check_sharding(trainer: Any) -> None:
    """Raises: ValueError if sharding was asked for and accelerate passes it over."""
    if trainer.args.fsdp and not (trainer.is_fsdp_enabled or trainer.is_fsdp_xla_enabled):
        raise ValueError(
            "fsdp: accelerate shards a model over accelerators only, and several processes on CPUs "
            "would each hold all of it; leave fsdp out"
        )
    if trainer.args.deepspeed and not trainer.is_deepspeed_enabled:
        raise ValueError("deepspeed: accelerate passes it over on this machine; leave it out")


def check_one_gpu(arguments: Any) -> None:
    """Raises: ValueError if a trainer with these arguments would split each batch among the GPUs that
    one process sees."""
    if arguments.n_gpu > 1:
        raise ValueError(
            f"one process sees {arguments.n_gpu} GPUs, and transformers would split each batch among "
            "them (DataParallel), where the loss in the head cannot follow; start a process a GPU "
            f"(torchrun --nproc-per-node {arguments.n_gpu}), or show it one (CUDA_VISIBLE_DEVICES=0)"
        )


def is_partitioned(model: nn.Module) -> bool:
    """Whether DeepSpeed's ZeRO-3 has taken the weights apart already."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def is_sharded(model: nn.Module) -> bool:
    """Whether each process has only a part of the weights, which a forward pass puts together."""
    return isinstance(model, FSDPModule) or is_partitioned(model)


def prepared_reference(model: nn.Module, accelerator: Any) -> nn.Module:
    """A model that is only read, on the accelerator's devices, sharded as the trained one is."""
    if str(accelerator.distributed_type).endswith("DEEPSPEED"):
        raise ValueError(
            "an anchor's reference model does not go with DeepSpeed, which takes its head away "
            "before the loss has read it; use FSDP2, or train an adapter"
        )
    if getattr(accelerator, "is_fsdp2", False):
        from trl.models.utils import prepare_fsdp

        prepare_fsdp(model, accelerator)
        return model.eval()
    return accelerator.prepare_model(model, evaluation_mode=True).eval()


def has_sharded_state(accelerator: Any) -> bool:
    """Whether FSDP's state dicts, and so its checkpoints, are one part a process."""
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    return plugin is not None and "SHARDED_STATE_DICT" in str(plugin.state_dict_type)


def whole_weights(model: Any, kept: bool) -> dict[str, Tensor]:
    """The state dict of a model that FSDP2 has sharded, put together a weight at a time, which all
    processes must do; empty where it is not kept. Tied weights stay one tensor."""
    found: dict[str, Tensor] = {}
    whole: dict[int, Tensor] = {}
    for name, value in fsdp2_canonicalize_names(model.state_dict(keep_vars=True)).items():
        if id(value) not in whole:
            tensor = value.detach()
            tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            whole[id(value)] = tensor.cpu() if kept else tensor.new_empty(0)
        if kept:
            found[name] = whole[id(value)]
    return found


@contextmanager
def tensors_alone() -> Iterator[None]:
    """While open, `torch.load` reads tensors and plain values and runs nothing, whoever calls it:
    DeepSpeed asks for unrestricted unpickling."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals(_deepspeeds_own()):
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _deepspeeds_own() -> list[Any]:
    """What DeepSpeed's checkpoints hold besides tensors and plain values: its stage and scale."""
    if "deepspeed" not in sys.modules:
        return []
    from deepspeed.runtime.fp16 import loss_scaler  # pyright: ignore[reportMissingImports]
    from deepspeed.runtime.zero.config import (  # pyright: ignore[reportMissingImports]
        ZeroStageEnum,
    )

    return [ZeroStageEnum, loss_scaler.LossScaler, loss_scaler.DynamicLossScaler]
