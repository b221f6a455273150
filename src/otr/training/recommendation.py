"""Which engine and settings a model needs on so many GPUs: the fastest that fits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from otr.training.hardware import RESERVE, Network, Processor
from otr.training.setting import Engine, Setting
from otr.training.shape import ModelShape
from otr.training.step_memory import Memory, memory_of
from otr.training.step_time import StepTime, network_bytes, time_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A setting with what it needs."""

    setting: Setting
    memory: Memory
    time: StepTime
    network_bytes: float
    fits: bool


def plan_of(
    shape: ModelShape, setting: Setting, processor: Processor, network: Network | None
) -> Plan:
    """What a setting needs, and whether a processor's memory holds it with a reserve."""
    memory = memory_of(shape, setting)
    return Plan(
        setting=setting,
        memory=memory,
        time=time_of(shape, setting, processor, network),
        network_bytes=network_bytes(shape, setting),
        fits=memory.total <= (1 - RESERVE.value) * processor.memory_bytes.value,
    )


def recommended(
    shape: ModelShape,
    setting: Setting,
    processor: Processor,
    network: Network | None,
    *,
    engines: tuple[Engine, ...] = tuple(Engine),
) -> Plan:
    """The plan with the shortest step, its network apart, among those that fit; the same rows,
    length, accumulation and GPUs as `setting`.

    What changes the arithmetic comes last: AdamW's states in 8 bits only where nothing fits with
    32, and weights in bfloat16 (under adapters the frozen ones, which nothing updates, are so from
    the start) only where that does not help either. Where nothing fits, the plan that needs the
    least memory.
    """
    plans: list[Plan] = []
    for changes in _arithmetics(shape):
        plans = [
            plan_of(shape, each, processor, network)
            for each in _candidates(replace(setting, **changes), engines)
        ]
        fitting = [plan for plan in plans if plan.fits]
        if fitting:
            return min(fitting, key=lambda plan: (plan.time.apart, plan.memory.total))
    return min(plans, key=lambda plan: plan.memory.total)


def _arithmetics(shape: ModelShape) -> tuple[dict[str, Any], ...]:
    if shape.is_adapted:
        return ({"weights": "bfloat16", "optimizer_bits": 32},)
    return (
        {"weights": "float32", "optimizer_bits": 32},
        {"weights": "float32", "optimizer_bits": 8},
        {"weights": "bfloat16", "optimizer_bits": 8},
    )


def _candidates(setting: Setting, engines: tuple[Engine, ...]) -> Iterator[Setting]:
    for engine in engines:
        if (engine is Engine.ONE) != (setting.num_gpus == 1):
            continue
        # Neither DeepSpeed's own AdamW nor its sharding has these.
        if engine is Engine.ZERO3 and (
            setting.optimizer_bits == 8 or setting.weights == "bfloat16"
        ):
            continue
        for is_checkpointed in (False, True):
            yield replace(setting, engine=engine, is_checkpointed=is_checkpointed)
