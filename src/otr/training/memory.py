"""A run's peak memory: estimated against what the machine has, and measured."""

import sys
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from otr.lm_head.chunked import rows_in_chunk

_ADAM_STATES = 2
_LIBRARIES_BYTES = 1 << 29

_ALLOCATION_FAILED = ("DefaultCPUAllocator", "CUDA out of memory", "can't allocate memory")
_PARTS = ("weights", "gradients", "optimizer", "reference", "activations", "head", "process")


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes by what they are for; activations are a rough figure, the rest is counted."""

    weights: int
    gradients: int
    optimizer: int
    reference: int
    """The model that an anchor keeps the trained one near, where it is one of its own."""
    activations: int
    head: int
    process: int
    """The libraries themselves, where they share the memory."""
    available: int
    """Of the accelerator, or of the machine where there is none."""

    @property
    def total(self) -> int:
        """The estimated peak."""
        return sum(getattr(self, part) for part in _PARTS)

    def lines(self) -> list[str]:
        """The estimate in words."""
        sizes = {part: getattr(self, part) for part in _PARTS}
        shares = ", ".join(f"{part} {_size(size)}" for part, size in sizes.items() if size)
        lines = [f"memory     about {_size(self.total)} of {_size(self.available)} ({shares})"]
        if self.total > self.available:
            lines.append(
                "           this will not fit: lower training.per_device_train_batch_size or "
                "training.max_length, set training.gradient_checkpointing=true, or use lora"
            )
        return lines


def memory_estimate(
    model: Any, longest: int, arguments: Any, reference: Any = None
) -> MemoryEstimate:
    """The peak memory of a training step of one process.

    Args:
        model: the model to be trained, adapters included; its weights may be on `meta`.
        longest: tokens of the longest row.
        arguments: the run's SFTConfig.
        reference: a second model that is held besides, as an anchor's.
    """
    trained = [value for value in model.parameters() if value.requires_grad]
    gradients = sum(value.numel() * value.element_size() for value in trained)
    head = model.get_output_embeddings().weight
    head_gradient = head.numel() * 4 if head.requires_grad else 0
    tokens = arguments.per_device_train_batch_size * longest
    return MemoryEstimate(
        weights=_weight_bytes(model),
        gradients=gradients,
        optimizer=_ADAM_STATES * gradients,
        reference=0 if reference is None else _weight_bytes(reference),
        activations=tokens * _activation_bytes(model.config.get_text_config(), arguments),
        head=min(rows_in_chunk(head.shape[0], head.device.type), tokens) * head.shape[0] * 4
        + head_gradient,
        process=0 if torch.cuda.is_available() else _LIBRARIES_BYTES,
        available=_available(),
    )


def out_of_memory_words(error: BaseException, arguments: Any, step: int, longest: int) -> str:
    """What to say and change after a step ran out of memory; empty if the error is another.

    Args:
        error: what was raised.
        arguments: the run's SFTConfig.
        step: the step, from 1.
        longest: tokens of the longest row.
    """
    is_full = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error) for words in _ALLOCATION_FAILED
    )
    if not is_full:
        return ""
    rows = arguments.per_device_train_batch_size
    checkpointing = (
        "" if arguments.gradient_checkpointing else (", set training.gradient_checkpointing=true")
    )
    return (
        f"out of memory in step {step}, with {rows} rows of up to {longest} tokens at once: "
        f"{peak_memory_mb() / 1024:.1f} of {_size(_available())} used at most before. Lower "
        f"training.per_device_train_batch_size (now {rows}; training.gradient_accumulation_steps "
        f"keeps the step's batch) or training.max_length{checkpointing}, or use lora"
    )


def peak_memory_mb() -> float:
    """Peak memory of the accelerator, or of this process where there is none, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _weight_bytes(model: Any) -> int:
    return sum(value.numel() * value.element_size() for value in model.parameters())


def _activation_bytes(config: Any, arguments: Any) -> int:
    """Bytes that a token leaves for the backward pass: per layer the inputs of its products and
    norms, about 10 widths and 4 widths of its inner layer. Under checkpointing one width a layer,
    and thrice a whole layer while it is computed again."""
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * width
    layer = 10 * width + 4 * inner
    size = 2 if arguments.bf16 or arguments.fp16 else 4
    if arguments.gradient_checkpointing:
        return size * (config.num_hidden_layers * width + 3 * layer)
    return size * config.num_hidden_layers * layer


def _available() -> int:
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    return psutil.virtual_memory().total


def _size(num_bytes: int) -> str:
    if num_bytes < 2**30:
        return f"{num_bytes / 2**20:.0f} MiB"
    return f"{num_bytes / 2**30:.1f} GiB"
