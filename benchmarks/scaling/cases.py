"""What is trained to hold the model to account: small Qwen2 models on the CPU, in float32."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ScalingCase:
    """A model, its rows, and how it is trained."""

    name: str
    width: int = 256
    num_layers: int = 4
    vocabulary: int = 32768
    rows: int = 4
    length: int = 256
    supervised_share: float = 1.0
    is_checkpointed: bool = False
    lora_rank: int | None = None
    num_processes: int = 1
    accumulation: int = 1


PROCESS = ScalingCase(name="process", width=128, num_layers=1, vocabulary=512, length=16)
"""So small that all its memory is the process itself."""

CASES = (
    ScalingCase(name="small"),
    ScalingCase(name="DDP, small", num_processes=2),
    ScalingCase(name="wide", width=768, vocabulary=8192, rows=2),
    ScalingCase(name="deep", num_layers=12, vocabulary=8192),
    ScalingCase(name="large vocabulary", num_layers=2, vocabulary=151936, rows=2),
    ScalingCase(name="large batch", rows=12, supervised_share=0.5),
    ScalingCase(name="deep, checkpointed", num_layers=12, vocabulary=8192, rows=6,
        is_checkpointed=True),
    ScalingCase(name="wide, LoRA", width=768, vocabulary=8192, rows=4, lora_rank=16),
    ScalingCase(name="accumulated", width=512, vocabulary=8192, rows=2, accumulation=2),
    ScalingCase(name="DDP, wide", width=768, vocabulary=8192, rows=2, num_processes=2),
)  # fmt: skip
"""Each differs from the first in a few sizes."""
