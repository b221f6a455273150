"""A run's peak memory as measured, and what to say when there was too little."""

import sys
from typing import Any

import psutil
import torch

_ALLOCATION_FAILED = ("DefaultCPUAllocator", "CUDA out of memory", "can't allocate memory")


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
        f"{peak_memory_mb() / 1024:.1f} of {size_words(available_bytes())} used at most before. Lower "
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


def available_bytes() -> int:
    """Memory of the accelerator, or of the machine where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return psutil.virtual_memory().total


def size_words(num_bytes: float) -> str:
    """Bytes in the unit that suits them."""
    if num_bytes < 2**30:
        return f"{num_bytes / 2**20:.0f} MiB"
    return f"{num_bytes / 2**30:.1f} GiB"
