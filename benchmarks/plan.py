"""What is measured: on the CPU in full, on the CPU in a hurry, and on CUDA."""

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.cases import Case
from benchmarks.heads import HEADS
from benchmarks.states import DEMO, HELD_OUT, SEEN, Training
from benchmarks.steps import StepCase

GROWTH_HEADS = ("gemms", "full logits", "TRL", "naive OTR", "SFT", "OTR")
_ROLLOUT_HEADS = ("gemms", "SFT", "OTR K 16", "OTR K 64", "OTR", "OTR K 1024")
_FEW = ("gemms", "full logits", "TRL", "SFT", "OTR", "OTR exact")
_STATE_HEADS = ("gemms", "full logits", "TRL", "naive OTR", "SFT", "OTR", "OTR exact",
    "SFT compaction", "OTR compaction")  # fmt: skip
_ALL = tuple(name for name in HEADS if "K " not in name)

MAIN, ROLLOUTS = "main", "growth K"
QWEN = 151936
"""Vocabulary of the Qwen family."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All measurements of a run."""

    cases: tuple[Case, ...]
    """Timed; the first one is the main one."""

    accuracy: tuple[Case, ...]

    memory: tuple[Case, ...]
    """On the CPU; on CUDA memory is read while timing."""

    step: StepCase
    training: Training
    limit_seconds: float
    """No round of a case begins after this."""


def plan(device: str, quick: bool) -> Plan:
    """The measurements of a device."""
    if device == "cuda":
        return _cuda(quick)
    return _cpu_quick() if quick else _cpu()


def _cpu() -> Plan:
    qwen: dict[str, Any] = {"width": 896, "vocabulary": QWEN}
    bfloat16: dict[str, Any] = {"dtype": "bfloat16"}
    return Plan(
        cases=(
            Case(name=MAIN, rows=512, **qwen, heads=_ALL, rounds=5),
            Case(name="small", rows=512, width=256, vocabulary=32768, heads=_ALL),
            Case(name="wide", rows=256, width=2048, vocabulary=QWEN, heads=_FEW, rounds=2),
            Case(name="half ignored", rows=512, **qwen, heads=_FEW, ignored_share=0.5),
            Case(name="frozen", rows=256, **qwen, heads=_FEW, frozen=True),
            Case(name="bfloat16", rows=512, **qwen, heads=_FEW, **bfloat16),
            *_of_states(1024, rounds=3),
            *_of_states(1024, rounds=3, **bfloat16)[:2],
            *_growth("T", (512, 2048, 8192, 32768), width=128, vocabulary=4096, rounds=2),
            *_growth("V", (4096, 16384, 65536, QWEN), width=256, rows=512, rounds=2),
            *_growth("D", (256, 1024, 4096), rows=512, vocabulary=16384, rounds=2),
            Case(name=ROLLOUTS, rows=128, **qwen, heads=_ROLLOUT_HEADS, rounds=5, group=ROLLOUTS),
        ),
        accuracy=_accuracy(),
        memory=(
            Case(name="8192 tokens", rows=8192, width=64, vocabulary=QWEN, heads=("SFT", "OTR")),
            Case(name="every head", rows=1024, width=64, vocabulary=QWEN, heads=_ALL),
            _rollout_memory(),
        ),
        step=StepCase(rounds=5),
        # Few texts, so that the model comes to know them as fine-tuning does.
        training=Training(vocabulary=32768, num_steps=240, learnt_sequences=4),
        limit_seconds=200,
    )


def _cpu_quick() -> Plan:
    small: dict[str, Any] = {"width": 256, "vocabulary": 16384}
    return Plan(
        cases=(
            Case(name=MAIN, rows=512, **small, heads=_ALL, rounds=5),
            Case(name="half ignored", rows=512, **small, heads=_FEW, ignored_share=0.5),
            Case(name="frozen", rows=512, **small, heads=_FEW, frozen=True),
            Case(name="bfloat16", rows=512, **small, heads=_FEW, dtype="bfloat16"),
            *_of_states(2048, rounds=3),
            *_growth("T", (512, 1024, 2048), width=128, vocabulary=4096, rounds=2),
            *_growth("V", (4096, 16384, 65536), width=128, rows=128, rounds=2),
            *_growth("D", (128, 512, 2048), rows=128, vocabulary=8192, rounds=2),
            Case(name=ROLLOUTS, rows=128, **small, heads=_ROLLOUT_HEADS, group=ROLLOUTS),
        ),
        accuracy=_accuracy()[:2],
        memory=(
            Case(name="8192 tokens", rows=1024, width=64, vocabulary=QWEN, heads=("OTR",)),
            Case(name="every head", rows=512, width=64, vocabulary=32768, heads=GROWTH_HEADS),
            replace(_rollout_memory(), rows=512),
        ),
        step=StepCase(width=128, rows=4, vocabulary=16384, rounds=4),
        training=Training(width=256, num_steps=250, learnt_sequences=6),
        limit_seconds=20,
    )


def _cuda(quick: bool) -> Plan:
    qwen: dict[str, Any] = {"width": 2048, "vocabulary": QWEN, "dtype": "bfloat16"}
    rounds = 5 if quick else 15
    rows = (512, 8192) if quick else (512, 2048, 8192, 32768)
    cases = (
        Case(name=MAIN, rows=8192, **qwen, heads=_ALL, rounds=rounds),
        Case(name="half ignored", rows=8192, **qwen, heads=_FEW, rounds=rounds, ignored_share=0.5),
        Case(name="frozen", rows=8192, **qwen, heads=_FEW, rounds=rounds, frozen=True),
        *_of_states(8192, rounds=rounds, dtype="bfloat16"),
        *_growth("T", rows, **qwen, rounds=5, heads=_ALL),
        *_growth("V", (4096, 32768, QWEN), **{**qwen, "rows": 8192}, rounds=5),
        *_growth("D", (896, 2048, 4096), **{**qwen, "rows": 8192}, rounds=5, heads=_ALL),
        Case(name=ROLLOUTS, rows=8192, **qwen, heads=_ROLLOUT_HEADS, rounds=9, group=ROLLOUTS),
    )
    return Plan(
        cases=cases,
        accuracy=_accuracy(),
        memory=(),
        step=StepCase(width=1024, num_layers=4, vocabulary=QWEN, length=1024, dtype="bfloat16"),
        training=Training(
            vocabulary=QWEN,
            batch_size=12,
            learnt_sequences=48,
            measured_sequences=32,
        ),
        limit_seconds=4 if quick else 10,
    )


def _of_states(rows: int, rounds: int, dtype: Any = "float32") -> tuple[Case, ...]:
    """A case for each set of trained states."""
    suffix = "" if dtype == "float32" else f", {dtype}"
    return tuple(
        Case(
            name=states + suffix,
            rows=rows,
            states=states,
            heads=_STATE_HEADS,
            rounds=rounds,
            dtype=dtype,
        )
        for states in (DEMO, SEEN, HELD_OUT)
    )


_FIELDS = {"T": "rows", "V": "vocabulary", "D": "width"}


def _growth(what: str, sizes: tuple[int, ...], **fields: Any) -> tuple[Case, ...]:
    """A case a size; the other sizes stay."""
    return tuple(
        Case(
            name=f"{what} {size}",
            group=f"growth {what}",
            **{"heads": GROWTH_HEADS, **fields, _FIELDS[what]: size},
        )
        for size in sizes
    )


def _accuracy() -> tuple[Case, ...]:
    """Odd sizes with random states, and rows of the trained ones."""
    heads = tuple(name for name, head in HEADS.items() if head.truth is not None)
    odd: dict[str, Any] = {"width": 128, "vocabulary": 4099, "heads": heads, "ignored_share": 0.1}
    return (
        Case(name="random", rows=96, **odd),
        Case(name="random, bfloat16", rows=96, **odd, dtype="bfloat16"),
        Case(name=SEEN, rows=256, states=SEEN, heads=heads),
        Case(name=f"{SEEN}, bfloat16", rows=256, states=SEEN, heads=heads, dtype="bfloat16"),
    )


def _rollout_memory() -> Case:
    heads = ("OTR K 64", "OTR K 1024")
    return Case(name=ROLLOUTS, rows=2048, width=64, vocabulary=32768, heads=heads)
