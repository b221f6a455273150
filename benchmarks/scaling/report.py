"""docs/scaling.md: the tables of a plan, and how far the model was from what was measured."""

from itertools import chain
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.scaling.architectures import LORA_RANK, shape
from benchmarks.scaling.words import CLOSING, OPENING
from otr import runs
from otr.training.hardware import (
    CONTEXT,
    ETHERNET,
    H100,
    H200,
    HEAD_SECONDS_PER_LOGIT,
    INFINIBAND,
    LIBRARIES,
    RESERVE,
    Figure,
)
from otr.training.recommendation import Plan, recommended
from otr.training.setting import Engine, Setting

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"

ROWS, LENGTH = 4, 2048
NUM_GPUS = (1, 2, 8, 16, 64)
_NAMES = ("Qwen2.5-3B", "Llama-3.1-8B", "Llama-3.1-70B")


def document() -> str:
    """The whole page."""
    lines = [*OPENING.format(rows=ROWS, length=f"{LENGTH:,}", rank=LORA_RANK).splitlines(), ""]
    for name in _NAMES:
        for rank in (None, LORA_RANK):
            how = "full fine-tuning" if rank is None else f"LoRA of rank {rank}"
            numbers = shape(name, rank)
            lines += [f"### {name}, {how}", "", f"{_size(numbers.num_trained)} of "
                f"{_size(numbers.num_params)} parameters trained.", "", *_plans(name, rank), ""]  # fmt: skip
    lines += ["## A slower network", "", *_networks(), ""]
    results = [runs.read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    lines += ["## How far off it was", "", *chain(*map(_measured, results)), ""]
    lines += ["## Where the figures are from", "", *_figures(), ""]
    return "\n".join(lines) + CLOSING


def _plans(name: str, rank: int | None) -> list[str]:
    header = ["GPUs", "of", "engine", "settings", "GB a GPU", "states", "activations", "head",
        "buffers", "s a step", "tokens/s", "GB sent"]  # fmt: skip
    rows = [header]
    for num_gpus in NUM_GPUS:
        for processor in (H100, H200):
            setting = Setting(num_gpus=num_gpus, rows=ROWS, length=LENGTH)
            plan = recommended(shape(name, rank), setting, processor, INFINIBAND)
            size = f"{processor.memory_bytes.value / 1e9:.0f} GB"
            rows.append([str(num_gpus), size, *_cells(plan)])
    return _table(rows)


def _cells(plan: Plan) -> list[str]:
    memory, time = plan.memory, plan.time
    states = memory.weights + memory.gradients + memory.optimizer
    sizes = (memory.total, states, memory.activations, memory.head, memory.communication)
    if not plan.fits:
        least = f"**does not fit**: {memory.total / 1e9:,.0f}"
        return [_engine(plan.setting), _words(plan.setting), least, *["–"] * 7]
    slow, fast = time.tokens_per_second
    sent = f"{plan.network_bytes / 1e9:,.1f}" if plan.network_bytes else "–"
    seconds = _between(time.overlapped, time.apart, 2)
    return [_engine(plan.setting), _words(plan.setting), *(f"{size / 1e9:.1f}" for size in sizes),
        seconds, _between(slow, fast, 0), sent]  # fmt: skip


def _engine(setting: Setting) -> str:
    if setting.engine is Engine.ONE:
        return "`otr train`"
    return f"`configs/{setting.engine.value}.yaml`"


def _words(setting: Setting) -> str:
    words = [f"{setting.weights} weights"]
    if setting.optimizer_bits == 8:
        words.append("8-bit AdamW")
    if setting.is_checkpointed:
        words.append("checkpointing")
    return ", ".join(words)


def _networks() -> list[str]:
    """The same plans over a 400 Gb/s port a GPU and over one 100 Gb/s port a machine."""
    rows = [["", "GPUs", "engine", "GB sent", "s a step, 8 × 400 Gb/s", "s a step, 1 × 100 Gb/s"]]
    for name, rank in (
        ("Llama-3.1-8B", None),
        ("Llama-3.1-8B", LORA_RANK),
        ("Llama-3.1-70B", None),
    ):
        for num_gpus in (16, 64):
            setting = Setting(num_gpus=num_gpus, rows=ROWS, length=LENGTH)
            plans = [
                recommended(shape(name, rank), setting, H100, network)
                for network in (INFINIBAND, ETHERNET)
            ]
            if not all(plan.fits for plan in plans):
                continue
            how = "full" if rank is None else "LoRA"
            engines = " / ".join(dict.fromkeys(plan.setting.engine.words for plan in plans))
            seconds = [_between(p.time.overlapped, p.time.apart, 2) for p in plans]
            sent = f"{plans[1].network_bytes / 1e9:,.1f}"
            rows.append([f"{name}, {how}", str(num_gpus), engines, sent, *seconds])
    return _table(rows)


def errors(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each measured case: what was predicted, what was measured, and the relative error."""
    process, *cases = results["cases"]
    libraries = process["measured"]["peak_bytes"]
    found = []
    for case in cases:
        measured, predicted = case["measured"], case["predicted"]
        parts = {k: v for k, v in predicted["memory"].items() if k not in ("moment", "process")}
        seconds = [each["layers"] + each["head"] + each["update"] for each in predicted["seconds"]]
        found.append(
            {
                "name": case["case"]["name"],
                "num_params": case["num_params"],
                "memory": (sum(parts.values()), measured["peak_bytes"] - libraries),
                "seconds": (mean(seconds), median(measured["processor_seconds"])),
                "network": (predicted["network_bytes"], measured["gradient_bytes_sent"]),
                "wire": measured["bytes_on_the_wire"],
            }
        )
    return found


def _measured(results: dict[str, Any]) -> list[str]:
    machine = results["machine"]
    rows = [["", "parameters", "MiB, predicted", "measured", "error", "s a step, predicted",
        "measured", "error"]]  # fmt: skip
    found = errors(results)
    for case in found:
        (memory, peak), (seconds, taken) = case["memory"], case["seconds"]
        rows.append([case["name"], _size(case["num_params"]), f"{memory / 2**20:,.0f}",
            f"{peak / 2**20:,.0f}", _error(memory, peak), f"{seconds:.2f}", f"{taken:.2f}",
            _error(seconds, taken)])  # fmt: skip
    process = results["cases"][0]["measured"]["peak_bytes"] / 2**20
    lines = [
        f"{machine['device']}, one thread a process, {machine['date']}, torch "
        f"{machine['versions']['torch']}. Memory is beyond the {process:,.0f} MiB of a process that "
        "trains next to nothing, with a malloc that gives freed memory back at once (as it does by "
        "default a process keeps more: docs/log.md). Seconds are the processor's in the program, "
        "since other programs ran beside; no step was timed by the wall's clock, and no network's "
        "time was held against the model, only its bytes.",
        "",
        *_table(rows),
        "",
        _spread("Memory", [case["memory"] for case in found]),
        _spread("Time", [case["seconds"] for case in found]),
        "",
    ]
    for case in found:
        predicted, counted = case["network"]
        if predicted:
            wire = "" if case["wire"] is None else f", {case['wire'] / 1e6:,.1f} MB on the wire"
            lines.append(
                f"{case['name']}: {predicted / 1e6:,.1f} MB of gradients a step and process "
                f"predicted; {counted / 1e6:,.1f} MB handed to the all-reduce{wire}.  "
            )
    return lines


def _spread(what: str, pairs: list[tuple[float, float]]) -> str:
    shares = sorted(predicted / measured - 1 for predicted, measured in pairs)
    size = median(abs(share) for share in shares)
    return (
        f"{what}: from {_percent(shares[0])} to {_percent(shares[-1])}, {size:.0%} in the median "
        "of the sizes.  "
    )


def _figures() -> list[str]:
    figures: dict[str, Figure] = {
        "H100 and H200, FLOP/s of the layers": H100.layer_flops,
        "H100 and H200, FLOP/s of the head in 16 bits": H100.head_flops,
        "H100 and H200, FLOP/s of the head in float32": H100.float32_flops,
        "H100, memory": H100.memory_bytes,
        "H200, memory": H200.memory_bytes,
        "H100, memory's rate": H100.bytes_per_second,
        "H200, memory's rate": H200.bytes_per_second,
        "H100, head beside its products, a logit": H100.logit_seconds,
        "CPU, head beside its products, a logit": HEAD_SECONDS_PER_LOGIT,
        "network in a machine, a GPU": INFINIBAND.in_machine,
        "network between machines, a machine": INFINIBAND.between_machines,
        "slower network, a machine": ETHERNET.between_machines,
        "share of these that collectives reach": INFINIBAND.reached,
        "memory left free": RESERVE,
        "a process on a GPU": CONTEXT,
        "a process on a CPU": LIBRARIES,
    }
    rows = [["", "value", "", "source"]]
    for name, figure in figures.items():
        rows.append([name, f"{figure.value:.3g} {figure.unit}", figure.kind, figure.source])
    return _table(rows)


def _between(low: float, high: float, digits: int) -> str:
    words = [f"{value:,.{digits}f}" for value in (low, high)]
    return words[0] if words[0] == words[1] else "–".join(words)


def _error(predicted: float, measured: float) -> str:
    return _percent(predicted / measured - 1)


def _percent(share: float) -> str:
    return f"{share:+.0%}".replace("-", "−")


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"


def _table(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
