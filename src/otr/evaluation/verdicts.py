"""What a comparison says in words: verdicts, in percentage points, and warnings."""

from collections.abc import Mapping, Sequence

from otr.evaluation.statistics import Difference, Estimate
from otr.evaluation.sweep import Sweep
from otr.formats import points, rate_text

NO_VERDICT = (
    "One run each: no verdict, since another seed may turn it round; three seeds or more give one"
)

_MOST_NAMED = 4
_MUCH_CUT = 0.2


def verdict(label: str, reference: str, difference: Difference, *, distinguishable: bool) -> str:
    """A paired difference of accuracies in words; no verdict from one run each."""
    mean = difference.estimate.mean
    low, high = difference.estimate.interval_95
    if difference.num_seeds == 1:
        return (
            f"{label} and {reference}, one run each: no verdict ("
            f"{interval(difference.estimate, signed=True)} points on these questions)"
        )
    if distinguishable:
        direction = "ahead of" if mean > 0 else "behind"
        ends = (low, high) if mean > 0 else (-high, -low)
        return (
            f"{label} {direction} {reference} by {points(abs(mean))} points "
            f"(95 % interval {points(ends[0])} to {points(ends[1])})"
        )
    corrected = low > 0 or high < 0
    return (
        f"{label} and {reference} are not distinguishable"
        f"{' after correction for several benchmarks' if corrected else ''}: "
        f"{points(mean, signed=True)} points "
        f"({points(low, signed=True)} to {points(high, signed=True)}){_needed(difference)}"
    )


def against_untuned(untuned: float, changes: Mapping[str, Estimate]) -> str:
    """Whether training did any good, from each method's change: it beats the untuned model where the
    interval lies above 0."""
    better = {label: each for label, each in changes.items() if each.interval_95[0] > 0}
    best_first = sorted(better or changes, key=lambda label: -changes[label].mean)
    named = list(changes) if len(changes) <= _MOST_NAMED else best_first
    named = [label for label in named if label in (better or changes)][:_MOST_NAMED]
    clauses = ", ".join(f"{label} {interval(changes[label], signed=True)}" for label in named)
    more = len(better or changes) - len(named)
    clauses += f" and {more} others" if more else ""
    if not better:
        return f"No objective beats the untuned model ({points(untuned)}): {clauses} points"
    rest = [label for label in changes if label not in better]
    words = f"Better than the untuned model ({points(untuned)}): {clauses} points"
    if not rest:
        return words
    return (
        f"{words}; not so {', '.join(rest) if len(rest) <= _MOST_NAMED else f'{len(rest)} others'}"
    )


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """`91.6 (87.7 to 95.4)`: a share in percent with its interval."""
    low, high = estimate.interval_95
    ends = f"{points(low, signed=signed)} to {points(high, signed=signed)}"
    return f"{points(estimate.mean, signed=signed)} ({ends})"


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
    num_seeds = {len(sweep.kept) for sweep in sweeps} - {0}
    if 1 in num_seeds and len(num_seeds) > 1:
        found.append("some methods have one run: their intervals do not cover other seeds")
    elif 2 in num_seeds:
        found.append("two seeds say little about others: intervals are very wide; take five")
    if num_differences > 2:
        found.append(
            f"{num_differences} methods are compared with {sweeps[0].label}, each at 5 %: if none "
            f"differed, up to {0.05 * num_differences:.2g} false verdicts were to be expected"
        )
    return found


def cut_warnings(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Of which benchmarks many answers were cut off; `shares` by benchmark and by what answered."""
    found = []
    for benchmark, by_label in shares.items():
        much = {label: share for label, share in by_label.items() if share >= _MUCH_CUT}
        if much:
            whose = ", ".join(
                f"{label} {100 * share:.0f} %".strip() for label, share in much.items()
            )
            found.append(
                f"{benchmark}: answers were cut off at the limit of tokens ({whose}), and one of these "
                "may be graded right by what it happens to end with; raise the benchmark's "
                "max_new_tokens, or see why answers do not end"
            )
    return found


def _failures(sweep: Sweep) -> list[str]:
    found = []
    for rate, seeds in sweep.failed.items():
        found.append(
            f"{sweep.label}: {len(seeds)} of {len(seeds) + len(sweep.runs.get(rate, ()))} runs at "
            f"learning rate {rate_text(rate)} failed (seed {', '.join(map(str, seeds))})"
        )
    for rate in sweep.skipped:
        found.append(
            f"{sweep.label}: learning rate {rate_text(rate)} was not considered, "
            "as it lacks seeds that others have"
        )
    return found


def _edges(sweeps: Sequence[Sweep]) -> list[str]:
    """Which best rates have no neighbour on one side, or are no better than the others."""
    lowest, highest, alike = [], [], []
    for sweep in sweeps:
        if sweep.learning_rate is None:
            continue
        if sweep.all_alike:
            alike.append(f"{sweep.label} ({rate_text(sweep.learning_rate)})")
        elif sweep.at_edge:
            tried = min(sweep.runs.keys() | sweep.failed.keys())
            edge = lowest if sweep.learning_rate == tried else highest
            edge.append(f"{sweep.label} ({rate_text(sweep.learning_rate)})")
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
