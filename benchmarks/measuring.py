"""Rounds in which every head of a case has one call, and ratios of calls of the same round."""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import torch

from benchmarks.cases import Inputs
from benchmarks.heads import Head, Outcome, Run, Unavailable

_FLUSHED_BYTES = 1 << 28
_WARM_ROWS = 16
_FEWEST_ROUNDS = 2
_SHARE_OF_MEMORY = 0.8

Seconds = Sequence[float]
"""Seconds of a head's calls, one a round."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times the seconds of another: the median over rounds, and its spread."""

    median: float
    lowest: float
    lower_quartile: float
    upper_quartile: float
    highest: float
    num_rounds: int

    def as_json(self) -> dict[str, float]:
        """The ratio as plain numbers."""
        return asdict(self)


@dataclass(kw_only=True)
class Measured:
    """What the rounds of a case gave."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    kept_fraction: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    """Peak memory of the accelerator above the inputs; empty on the CPU."""


def paired_ratio(numerator: Seconds, denominator: Seconds) -> Ratio | None:
    """The ratio within each round; None if there was no round, or one of them had no calls."""
    if not numerator or not denominator:
        return None
    ratios = sorted(ours / theirs for ours, theirs in zip(numerator, denominator, strict=True))
    quartiles = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return Ratio(
        median=statistics.median(ratios),
        lowest=ratios[0],
        lower_quartile=quartiles[0],
        upper_quartile=quartiles[2],
        highest=ratios[-1],
        num_rounds=len(ratios),
    )


def reason(error: BaseException) -> str:
    """An exception in a line, without paths of this machine."""
    first = (str(error).strip().splitlines() or [""])[0]
    first = re.sub(r"(?:[A-Za-z]:)?(?:[/\\][\w.+~ -]+){2,}", "<path>", first)[:200]
    if isinstance(error, Unavailable):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def prepared(head: Head, inputs: Inputs, *, record: bool = False) -> Run:
    """The call of a head over these inputs.

    Raises: MemoryError if it would hold more than this machine has; whatever the head raises.
    """
    needed = 4 * head.logits_held * len(inputs.labels_T) * len(inputs.weight_VD)
    if needed == 0:
        return head.prepare(inputs, record)
    if inputs.hidden_TD.is_cuda:
        torch.cuda.empty_cache()
        available = torch.cuda.mem_get_info()[0]
    else:
        import psutil

        available = psutil.virtual_memory().available
    if needed > _SHARE_OF_MEMORY * available:
        raise MemoryError(
            f"it holds about {needed / 2**30:.0f} GiB of logits, and {available / 2**30:.0f} GiB "
            "are free"
        )
    return head.prepare(inputs, record)


def measure(
    heads: Mapping[str, Head], inputs: Inputs, *, rounds: int, limit_seconds: float = 1e9
) -> Measured:
    """Time the heads in turns; none that fails ends the others.

    Each head first has an untimed call, on the CPU over a few rows only; a head that would take
    more than a quarter of `limit_seconds` a call is skipped. In each round the order starts with
    another head. On CUDA the cache is flushed before every call, so that calls are cold; on the
    CPU the caches are as the head before left them. Gradients are cleared before every call. No
    round begins after `limit_seconds`, but two are always made.
    """
    measured, runs = Measured(), {}
    for name, head in heads.items():
        try:
            runs[name] = prepared(head, inputs)
            if inputs.hidden_TD.is_cuda:
                measured.peak_bytes[name] = _peak_on_cuda(runs[name], inputs, limit_seconds / 4)
            else:
                _warm_up(head, inputs, limit_seconds / 4)
                if head.cpu_note:
                    measured.notes[name] = head.cpu_note
            measured.seconds[name] = []
        except Exception as error:
            _drop(name, error, runs, measured, inputs)
    clock = cuda_seconds if inputs.hidden_TD.is_cuda else cpu_seconds
    start = perf_counter()
    for index in range(rounds):
        if index >= _FEWEST_ROUNDS and perf_counter() - start > limit_seconds:
            break
        turn = index % len(runs) if runs else 0
        for name in [*runs][turn:] + [*runs][:turn]:
            inputs.clear()
            try:
                seconds, outcome = clock(runs[name])
            except Exception as error:
                _drop(name, error, runs, measured, inputs)
                continue
            measured.seconds[name].append(seconds)
            if outcome.kept_fraction is not None:
                measured.kept_fraction[name] = float(outcome.kept_fraction)
    inputs.clear()
    return measured


def _drop(
    name: str, error: Exception, runs: dict[str, Run], measured: Measured, inputs: Inputs
) -> None:
    """Record why a head is left out, and free what it held."""
    measured.skipped[name] = reason(error)
    measured.seconds.pop(name, None)
    runs.pop(name, None)
    inputs.clear()
    if inputs.hidden_TD.is_cuda:
        torch.cuda.empty_cache()


def _warm_up(head: Head, inputs: Inputs, limit_seconds: float) -> None:
    """Call a head over a few rows.

    Raises: Unavailable if all rows would take more than the limit.
    """
    few = Inputs(
        hidden_TD=inputs.hidden_TD.detach()[:_WARM_ROWS].clone().requires_grad_(),
        weight_VD=inputs.weight_VD,
        labels_T=inputs.labels_T[:_WARM_ROWS],
    )
    run, expected = head.prepare(few, False), 0.0
    # The first call may be slow for what it loads or compiles.
    for _ in range(2):
        inputs.clear()
        seconds, _ = cpu_seconds(run)
        expected = seconds * len(inputs.labels_T) / len(few.labels_T)
        if expected <= limit_seconds:
            return
    raise Unavailable(f"a call would take about {expected:.0f} s, judged by {_WARM_ROWS} rows")


def _peak_on_cuda(run: Run, inputs: Inputs, limit_seconds: float) -> int:
    """The peak memory of a call above what was held before, after one that compiles and tunes.

    Raises: Unavailable if the call takes more than the limit.
    """
    run()
    inputs.clear()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start = perf_counter()
    run()
    torch.cuda.synchronize()
    if (seconds := perf_counter() - start) > limit_seconds:
        raise Unavailable(f"a call takes {seconds:.0f} s")
    return torch.cuda.max_memory_allocated() - before


def cpu_seconds(run: Run) -> tuple[float, Outcome]:
    """Wall time of a call."""
    start = perf_counter()
    outcome = run()
    return perf_counter() - start, outcome


def cuda_seconds(run: Run) -> tuple[float, Outcome]:
    """Time of a call on the accelerator, with the cache flushed before."""
    torch.empty(_FLUSHED_BYTES, dtype=torch.uint8, device="cuda").zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    outcome = run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000, outcome


def case_json(
    sizes: Mapping[str, Any], measured: Measured, names: Sequence[str], baseline: str = "gemms"
) -> dict[str, Any]:
    """A case as it is written: each head's seconds, and their ratio to the bare products."""
    heads: dict[str, Any] = {}
    base = measured.seconds.get(baseline, [])
    for name in names:
        if name in measured.skipped:
            heads[name] = {"skipped": measured.skipped[name]}
            continue
        seconds = measured.seconds[name]
        ratio = paired_ratio(seconds, base)
        entry: dict[str, Any] = {"seconds": seconds, "median_seconds": statistics.median(seconds)}
        if ratio is not None:
            entry["to_gemms"] = ratio.as_json()
        for extra, values in (
            ("kept_fraction", measured.kept_fraction),
            ("peak_bytes", measured.peak_bytes),
            ("note", measured.notes),
        ):
            if name in values:
                entry[extra] = values[name]
        heads[name] = entry
    return {**sizes, "heads": heads}
