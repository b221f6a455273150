"""Comparisons as text: one table a regime, verdicts below it."""

from otr.evaluation.comparison import Comparison
from otr.evaluation.statistics import Estimate


def table(comparison: Comparison) -> str:
    """The regime's table in percent: mean ± half of the 95 % interval over seeds.

    One line for the untuned model and one an objective, one column a benchmark, and the paired
    difference to the first objective on the first benchmark; then the verdict on that benchmark,
    and on others where there is a difference to tell.
    """
    first = comparison.objectives[0].label
    headline = comparison.benchmarks[0]
    names = [benchmark.rsplit("/", 1)[-1] for benchmark in comparison.benchmarks]
    rows = [["", "learning rate", *names, f"{names[0]} minus {first}"]]
    if comparison.untuned:
        untuned = [comparison.untuned.get(benchmark) for benchmark in comparison.benchmarks]
        rows.append(["untuned", "", *("" if x is None else f"{100 * x:.1f}" for x in untuned), ""])
    for result in comparison.objectives:
        estimates = [result.accuracy[benchmark] for benchmark in comparison.benchmarks]
        difference = result.difference.get(headline)
        rows.append(
            [
                result.label,
                f"{result.learning_rate:g}",
                *(percent(estimate) for estimate in estimates),
                percent(difference, signed=True) if difference is not None else "",
            ]
        )
    num_seeds = sorted({len(result.seeds) for result in comparison.objectives})
    seeds = " or ".join(map(str, num_seeds))
    title = (
        f"{comparison.name}: percent right, mean ± 95 % interval over {seeds} "
        f"seed{'' if num_seeds == [1] else 's'}"
    )
    lines = [title, *_aligned(rows), *comparison.verdicts(), *comparison.side_verdicts()]
    return "\n".join(lines) + "\n"


def percent(estimate: Estimate, *, signed: bool = False) -> str:
    """`91.6 ± 3.9` for a share of 0.916 with half-width 0.039; `91.6` for a single run."""
    mean = f"{100 * estimate.mean:{'+' if signed else ''}.1f}"
    return mean if estimate.half_width is None else f"{mean} ± {100 * estimate.half_width:.1f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """The rows with each column as wide as its widest cell, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "   ".join(cells).rstrip())
    return lines
