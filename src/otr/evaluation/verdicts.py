"""What a comparison says in words: verdicts, in percentage points, and warnings."""

from collections.abc import Sequence

from otr.evaluation.statistics import Difference
from otr.evaluation.sweep import Sweep


def verdict(label: str, reference: str, difference: Difference, *, distinguishable: bool) -> str:
    """A paired difference of accuracies in words."""
    mean = difference.estimate.mean
    low, high = difference.estimate.interval_95
    ending = ", in one run each" if len(difference.estimate.by_seed) == 1 else ""
    if distinguishable:
        direction = "ahead of" if mean > 0 else "behind"
        ends = (low, high) if mean > 0 else (-high, -low)
        return (
            f"{label} {direction} {reference} by {points(abs(mean))} points "
            f"(95 % interval {points(ends[0])} to {points(ends[1])}){ending}"
        )
    corrected = low > 0 or high < 0
    return (
        f"{label} and {reference} are not distinguishable"
        f"{' after correction for several benchmarks' if corrected else ''}: "
        f"{points(mean, signed=True)} points "
        f"({points(low, signed=True)} to {points(high, signed=True)}){ending}{_needed(difference)}"
    )


def points(share: float, *, signed: bool = False) -> str:
    """A share in percentage points with one decimal: `6.3`, `+6.3`, `\u22121.2`, `0.0`."""
    text = f"{abs(100 * share):.1f}"
    if text == "0.0":
        return text
    return ("\u2212" if share < 0 else "+" if signed else "") + text


def _needed(difference: Difference) -> str:
    needed = []
    if difference.seeds_needed is not None:
        needed.append(f"{difference.seeds_needed:,} seeds")
    if difference.questions_needed is not None:
        number = float(f"{difference.questions_needed:.2g}")
        needed.append(f"{number:,.0f} questions")
    return f"; needs about {' and '.join(needed)}" if needed else ""


def with_failures(words: str, sweep: Sweep) -> str:
    """A verdict with the share of the method's runs that failed, where some did."""
    if not sweep.num_failed or not sweep.kept:
        return words
    total = sweep.num_failed + len(sweep.kept)
    return f"{words} ({sweep.num_failed} of {total} runs failed)"


def warnings_of(sweeps: Sequence[Sweep], num_differences: int) -> list[str]:
    """What a reader should know before trusting the verdicts."""
    found = [words for sweep in sweeps for words in _failures(sweep)]
    found += _edges(sweeps)
    if not sweeps[0].kept and len(sweeps) > 1:
        found.append(
            f"{sweeps[0].label}: every run failed, so there is nothing to compare others with"
        )
    num_seeds = min((len(sweep.kept) for sweep in sweeps if sweep.kept), default=0)
    if num_seeds == 1:
        found.append("one seed: verdicts are about these very runs, not about other seeds")
    elif num_seeds == 2:
        found.append("two seeds say little about others: intervals are very wide; take five")
    if num_differences > 2:
        found.append(
            f"{num_differences} methods are compared with {sweeps[0].label}, each at 5 %: if none "
            f"differed, up to {0.05 * num_differences:.2g} false verdicts were to be expected"
        )
    return found


def _failures(sweep: Sweep) -> list[str]:
    found = []
    for rate, seeds in sweep.failed.items():
        found.append(
            f"{sweep.label}: {len(seeds)} of {len(seeds) + len(sweep.runs.get(rate, ()))} runs at "
            f"learning rate {rate:g} failed (seed {', '.join(map(str, seeds))})"
        )
    for rate in sweep.skipped:
        found.append(
            f"{sweep.label}: learning rate {rate:g} was not considered, "
            "as it lacks seeds that others have"
        )
    return found


def _edges(sweeps: Sequence[Sweep]) -> list[str]:
    """Which best rates have no neighbour on one side, or are no better than the others."""
    lowest, highest, alike = [], [], []
    for sweep in sweeps:
        if sweep.all_alike:
            alike.append(f"{sweep.label} ({sweep.learning_rate:g})")
        elif sweep.at_edge:
            tried = min(sweep.runs.keys() | sweep.failed.keys())
            edge = lowest if sweep.learning_rate == tried else highest
            edge.append(f"{sweep.label} ({sweep.learning_rate:g})")
    found = []
    for edge, methods in (("lowest", lowest), ("highest", highest)):
        if methods:
            way = "lower" if edge == "lowest" else "higher"
            found.append(
                f"the best learning rate is the {edge} one tried for {', '.join(methods)}: "
                f"a {way} one may be better"
            )
    if alike:
        found.append(
            "validation does not tell the learning rates apart, so the lowest is taken, for "
            + ", ".join(alike)
        )
    return found
