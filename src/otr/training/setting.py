"""How a model is trained, as plans take it: engine, processes, rows, dtypes."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

SIXTEEN_BITS, THIRTY_TWO_BITS = 2, 4
"""Bytes of a number."""


class Engine(Enum):
    """How processes share the work; the value is the name of an accelerate configuration."""

    ONE = "one process"
    DDP = "ddp"
    FSDP2 = "fsdp2"
    ZERO3 = "zero3"

    @property
    def is_sharded(self) -> bool:
        """Whether weights, gradients and optimizer states are split over the processes."""
        return self in (Engine.FSDP2, Engine.ZERO3)

    @property
    def words(self) -> str:
        """The name in a table."""
        return {"ddp": "DDP", "fsdp2": "FSDP2", "zero3": "ZeRO-3"}.get(self.value, self.value)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a model is trained."""

    engine: Engine = Engine.ONE
    num_gpus: int = 1
    gpus_per_machine: int = 8
    rows: int = 1
    """At once, of one GPU."""

    length: int = 2048
    """Tokens of a row."""

    supervised_share: float = 1.0
    """Of the tokens; the head reads no others."""

    accumulation: int = 1
    """Forward and backward passes of an optimizer step."""

    is_checkpointed: bool = False
    """Activations of a layer are computed again in the backward pass."""

    weights: Literal["float32", "bfloat16"] = "float32"
    """As they are held and updated; adapters are always float32."""

    compute: Literal["float32", "bfloat16"] = "bfloat16"
    optimizer_bits: Literal[32, 8] = 32
    """Of each of AdamW's two states; with bfloat16 weights torch's have 16 where this says 32."""

    device: str = "cuda"

    @property
    def tokens(self) -> int:
        """Of one GPU at once."""
        return self.rows * self.length

    @property
    def shards(self) -> int:
        """Over how many GPUs the model's states are split."""
        return self.num_gpus if self.engine.is_sharded else 1

    @property
    def is_autocast(self) -> bool:
        """Whether 16-bit copies are made of float32 weights as they are used; FSDP2 and ZeRO-3
        gather them in 16 bits instead."""
        is_mixed = self.compute == "bfloat16" and self.weights == "float32"
        return is_mixed and not self.engine.is_sharded

    @property
    def compute_bytes(self) -> int:
        """Of a number that products take."""
        return SIXTEEN_BITS if self.compute == "bfloat16" else THIRTY_TWO_BITS

    @property
    def weight_bytes(self) -> int:
        """Of a weight that is no adapter's."""
        return SIXTEEN_BITS if self.weights == "bfloat16" else THIRTY_TWO_BITS

    @property
    def stream_bytes(self) -> int:
        """Of a number of the states between layers: as autocast leaves them, float32."""
        return THIRTY_TWO_BITS if self.is_autocast else self.compute_bytes
