"""What a run's step will take of the machine at hand, in memory and time, and in words."""

import os
from dataclasses import dataclass, replace
from typing import Any

import torch

from otr.training.hardware import H100, H200, RESERVE, Processor, probed
from otr.training.look import TimedPass
from otr.training.memory import available_bytes, size_words
from otr.training.setting import Engine, Setting
from otr.training.shape import is_packed, shape_of
from otr.training.step_memory import Memory, memory_of
from otr.training.step_time import StepTime, time_of


@dataclass(frozen=True, kw_only=True)
class StepEstimate:
    """A step's fullest moment and its seconds; activations and seconds are rough, the rest is
    counted."""

    setting: Setting
    memory: Memory
    reference: int
    """Bytes of the model that an anchor keeps the trained one near, where it is one of its own."""

    available: int
    """Bytes of the accelerator, or of the machine where there is none."""

    time: StepTime
    processor: Processor

    timed: TimedPass | None = None
    """A real pass, which `seconds` goes by if there is one."""

    @property
    def total(self) -> float:
        """Bytes at the fullest moment."""
        return self.memory.total + self.reference

    @property
    def seconds(self) -> float:
        """Seconds of a step without the network: of as many passes like the timed one as its tokens
        take, and the update; without one, reckoned."""
        if self.timed is None:
            return self.time.computing
        passes = self.time.tokens / self.setting.num_gpus / self.timed.num_tokens
        return passes * self.timed.seconds + self.time.update

    @property
    def fits(self) -> bool:
        """Whether the memory holds it, with a reserve."""
        return self.total <= (1 - RESERVE.value) * self.available

    def lines(self) -> list[str]:
        """The estimate in words."""
        parts = {**self.memory.parts, "reference": self.reference}
        shares = ", ".join(f"{part} {size_words(size)}" for part, size in parts.items() if size)
        most = max(parts, key=lambda part: parts[part])
        lines = [
            f"memory     about {size_words(self.total)} of {size_words(self.available)} ({shares})",
            f"           fullest {self.memory.moment}; most of it {most}",
        ]
        if not self.fits:
            lines.append(f"           this will not fit: {self._way_out(most)}")
        return [*lines, *self._time_lines()]

    def _way_out(self, most: str) -> str:
        """What to change where it does not fit, by what takes most of the memory."""
        ways = [
            "lower training.per_device_train_batch_size or training.max_length",
            "use lora",
            "share the model among GPUs with configs/fsdp2.yaml",
        ]
        if not self.setting.is_checkpointed:
            ways.insert(1, "set training.gradient_checkpointing=true")
        if most not in ("activations", "head", "process"):
            # Rows hardly matter then.
            ways = [*ways[-2:], *ways[:-2]]
        return f"{', '.join(ways[:-1])}, or {ways[-1]}"

    def _time_lines(self) -> list[str]:
        network = "; the network's is not in it" if self.setting.num_gpus > 1 else ""
        if self.timed is not None:
            return [
                f"time       about {self.seconds:.2g} s a step of about {self.time.tokens:,} tokens, "
                f"padding included{network}",
                f"           as timed just now: {self.timed.num_tokens:,} tokens forward and backward "
                f"in {self.timed.seconds:.2g} s",
            ]
        parts = {"layers": self.time.layers, "head": self.time.head, "update": self.time.update}
        shares = ", ".join(
            f"{part} {seconds / self.time.computing:.0%}" for part, seconds in parts.items()
        )
        rate = self.processor.layer_flops
        least = "about" if self.setting.device == "cpu" else "at least"
        return [
            f"time       {least} {self.time.computing:.2g} s a step ({shares}){network}",
            f"           on {self.processor.name}, {rate.value / 1e9:,.0f} GFLOP/s, {rate.kind}: "
            f"{rate.source.split(';')[0]}",
        ]


def step_estimate(
    model: Any,
    longest: int,
    arguments: Any,
    reference: Any = None,
    *,
    mean_length: float | None = None,
    supervised_share: float = 1.0,
    processor: Processor | None = None,
    timed: TimedPass | None = None,
) -> StepEstimate:
    """The peak memory and the seconds of an optimizer step of one process.

    Args:
        model: the model to be trained, adapters included; its weights may be on `meta`.
        longest: tokens of the longest row, which memory goes by.
        arguments: the run's SFTConfig.
        reference: a second model that is held besides, as an anchor's.
        mean_length: tokens of a row on average, padding included, which time goes by; `longest`
            unless given.
        supervised_share: of the tokens.
        processor: this machine's unless given; what is not known is tried for a quarter of a second.
        timed: a real pass of this model, which the time is taken from.
    """
    shape = shape_of(model)
    setting = setting_of(model, longest, arguments)
    setting = replace(setting, supervised_share=1.0)
    usual = replace(
        setting, length=round(mean_length or longest), supervised_share=supervised_share
    )
    processor = processor or _processor(setting)
    held = 0
    if reference is not None:
        held = sum(value.numel() * value.element_size() for value in reference.parameters())
    return StepEstimate(
        setting=setting,
        memory=memory_of(shape, setting),
        reference=held,
        available=available_bytes(),
        time=time_of(shape, usual, processor),
        processor=processor,
        timed=timed,
    )


def setting_of(model: Any, length: int, arguments: Any) -> Setting:
    """A run's settings as plans take them."""
    sizes = {value.dtype.itemsize for value in model.parameters() if not is_packed(value)}
    is_short = min(sizes) == 2 or arguments.bf16 or arguments.fp16
    return Setting(
        engine=_engine(arguments),
        num_gpus=arguments.world_size,
        gpus_per_machine=int(os.environ.get("LOCAL_WORLD_SIZE", "8")),
        rows=arguments.per_device_train_batch_size,
        length=length,
        accumulation=arguments.gradient_accumulation_steps,
        is_checkpointed=arguments.gradient_checkpointing,
        weights="bfloat16" if min(sizes) == 2 else "float32",
        compute="bfloat16" if is_short else "float32",
        optimizer_bits=8 if "8bit" in arguments.optim.value else 32,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


def _engine(arguments: Any) -> Engine:
    if arguments.deepspeed or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        return Engine.ZERO3
    if arguments.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true":
        return Engine.FSDP2
    return Engine.DDP if arguments.world_size > 1 else Engine.ONE


def _processor(setting: Setting) -> Processor:
    if setting.device == "cpu":
        return probed()
    name = torch.cuda.get_device_name()
    known = next((each for each in (H200, H100) if each.name in name), None)
    short = setting.compute == "bfloat16"
    return known or probed("cuda", torch.bfloat16 if short else torch.float32)
