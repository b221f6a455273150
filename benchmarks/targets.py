"""What the heads are held to, and what was reached: all of it from the seconds of the rounds."""

from collections.abc import Iterator
from typing import Any

from benchmarks.measuring import paired_ratio
from benchmarks.plan import MAIN, ROLLOUTS
from benchmarks.steps import OURS, THEIRS

GIB = 2**30
_GRAIN = 1.01
"""Memory that grows by less has not grown: the sampling is no finer."""

_RATIOS: tuple[tuple[str, str, str, str, float, float], ...] = (
    (MAIN, "OTR, 256 rollouts / our SFT", "OTR", "SFT", 1.10, 1.03),
    (MAIN, "OTR exact / our SFT", "OTR exact", "SFT", 1.10, 1.03),
    (MAIN, "our SFT / three GEMMs", "SFT", "gemms", 1.15, 1.10),
    (MAIN, "OTR / TRL's SFT", "OTR", "TRL", 0.55, 0.75),
    (MAIN, "OTR / full-logits SFT", "OTR", "full logits", 1.00, 1.00),
    (ROLLOUTS, "time of 1024 rollouts / of 64", "OTR K 1024", "OTR K 64", 1.05, 1.05),
)
"""Case, what is compared, numerator, denominator, at most on the CPU and on a GPU."""

_COMPACTION = ("OTR with compaction / our SFT", "OTR compaction", "SFT", 0.65)


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target: `name`, where it was measured, `at_most`, `reached`, its spread and `verdict`.

    The verdict is "reached", "missed" or "not measured", the last with the reason.
    """
    return list(_targets(results))


def _targets(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    on_gpu = results["machine"]["kind"] == "cuda"
    cases = {case["name"]: case for case in results["cases"]}
    for where, name, numerator, denominator, on_cpu, on_cuda in _RATIOS:
        at_most = on_cuda if on_gpu else on_cpu
        yield _of_rounds(name, cases.get(where), where, numerator, denominator, at_most)
    name, numerator, denominator, at_most = _COMPACTION
    for case in cases.values():
        if case["states"] != "random":
            yield _of_rounds(name, case, case["name"], numerator, denominator, at_most)
    yield _of_step(results)
    yield from _of_memory(results)


def _entry(name: str, at: str, at_most: float, unit: str, reached: float) -> dict[str, Any]:
    verdict = "reached" if reached <= at_most else "missed"
    entry = {"name": name, "at": at, "at_most": at_most, "unit": unit}
    return entry | {"reached": reached, "verdict": verdict}


def _missing(name: str, at: str, at_most: float, unit: str, why: str) -> dict[str, Any]:
    entry = {"name": name, "at": at, "at_most": at_most, "unit": unit}
    return entry | {"reached": None, "verdict": "not measured", "reason": why}


def _of_rounds(
    name: str,
    case: dict[str, Any] | None,
    where: str,
    numerator: str,
    denominator: str,
    at_most: float,
) -> dict[str, Any]:
    heads = {} if case is None else case["heads"]
    for head in (numerator, denominator):
        if "seconds" not in heads.get(head, {}):
            why = heads.get(head, {}).get("skipped", "not part of this run")
            return _missing(name, where, at_most, "times", f"{head}: {why}")
    ratio = paired_ratio(heads[numerator]["seconds"], heads[denominator]["seconds"])
    assert ratio is not None
    return _entry(name, where, at_most, "times", ratio.median) | {"ratio": ratio.as_json()}


def _of_step(results: dict[str, Any]) -> dict[str, Any]:
    name, at, step = "step of OTRTrainer / of SFTTrainer", "training step", results["step"]
    if "seconds" not in step:
        return _missing(name, at, 1.00, "times", step["skipped"])
    ratio = paired_ratio(step["seconds"][OURS], step["seconds"][THEIRS])
    assert ratio is not None
    return _entry(name, at, 1.00, "times", ratio.median) | {"ratio": ratio.as_json()}


def _of_memory(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The weight gradient counts once, in the float32 that it is summed in."""
    cases = {case["name"]: case for case in results["memory"]}
    name, where = "peak memory of OTR beyond the weight gradient", "8192 tokens"
    case = cases.get(where, {"heads": {}})
    entry = case["heads"].get("OTR", {"skipped": "not part of this run"})
    if "skipped" in entry:
        yield _missing(name, where, 1.0, "GiB", entry["skipped"])
    else:
        beyond = (entry["peak_bytes"] - 4 * case["vocabulary"] * case["width"]) / GIB
        yield _entry(name, f"{case['rows']} tokens", 1.0, "GiB", beyond)
    name, found = "memory of 1024 rollouts / of 64", cases.get(ROLLOUTS, {"heads": {}})["heads"]
    many, few = (found.get(head, {"skipped": "no"}) for head in ("OTR K 1024", "OTR K 64"))
    if "skipped" in many or "skipped" in few:
        yield _missing(name, ROLLOUTS, _GRAIN, "times", "not part of this run")
    else:
        ratio = many["peak_bytes"] / few["peak_bytes"]
        yield _entry(name, ROLLOUTS, _GRAIN, "times", ratio)
