"""What a run has come to, so that two runs can be compared bit by bit."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from otr import runs
from otr.training.checkpoints import checkpoint_name

_TIMES = ("seconds", "tokens_per_second", "peak_memory_mb", "eval_runtime",
    "eval_samples_per_second", "eval_steps_per_second")  # fmt: skip


def end_of(folder: Path, last_step: int) -> dict[str, Any]:
    """Weights, optimizer, schedule, metrics and samples of a finished run, without times."""
    last = folder / runs.CHECKPOINTS / checkpoint_name(last_step)
    adapter = folder / runs.MODEL / "adapter_model.safetensors"
    weights = adapter if adapter.is_file() else folder / runs.MODEL / "model.safetensors"
    optimizer = _optimizer(last)
    rows = list(runs.read_jsonl(folder / runs.METRICS))
    return {
        "weights": load_file(weights),
        "optimizer": {f"{n}.{k}": v for n, part in optimizer.items() for k, v in part.items()},
        "schedule": torch.load(last / "scheduler.pt", weights_only=True),
        "metrics": [{k: v for k, v in row.items() if k not in _TIMES} for row in rows],
        "samples": list(runs.read_jsonl(folder / runs.SAMPLES)),
    }


def _optimizer(checkpoint: Path) -> dict[Any, dict[str, torch.Tensor]]:
    """The state of each parameter, wherever and in how many shards it lies."""
    if (checkpoint / "optimizer_0").is_dir():
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "optimizer.bin"
            dcp_to_torch_save(checkpoint / "optimizer_0", whole)
            return torch.load(whole, weights_only=True)["optimizer"]["state"]
    path = checkpoint / "optimizer.pt"
    path = path if path.is_file() else checkpoint / "optimizer.bin"
    return torch.load(path, weights_only=True)["state"]


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The parts that are not the same, bit by bit."""
    found = [part for part in ("schedule", "metrics", "samples") if one[part] != other[part]]
    for part in ("weights", "optimizer"):
        ours, theirs = one[part], other[part]
        same = ours.keys() == theirs.keys() and len(ours) > 0
        if not same or not all(torch.equal(value, theirs[name]) for name, value in ours.items()):
            found.append(part)
    return found
