"""A comparison as a table for a terminal. In percent."""

from collections.abc import Mapping, Sequence

from otr.evaluation.comparison import Comparison
from otr.evaluation.methods import HEADLINE, keys_of
from otr.evaluation.verdicts import interval
from otr.formats import points, rate_text
from otr.terminal import table_lines, wrapped

_MOST_COLUMNS = 5


def table(comparison: Comparison) -> str:
    """The comparison as text, for a terminal.

    A line for the untuned model and one a method: its learning rate, its scores with the ends of the
    95 % interval, the share of answers that were cut off, and the paired in-domain difference to the
    first method; then verdicts, other differences that can be told apart, and warnings. A column a group and benchmark while they
    fit, else one a group.
    """
    num_seeds = sorted({len(method.sweep.kept) for method in comparison.methods} - {0})
    seeds = " or ".join(map(str, num_seeds)) + (" seed" if num_seeds == [1] else " seeds")
    head = f"{comparison.title}: percent right (95 % interval), {seeds}"
    rows = table_lines(_rows(comparison, _columns(comparison)), margin="  ")
    words = [*comparison.verdicts(), *comparison.side_verdicts()]
    words += [f"warning: {each}" for each in comparison.warnings]
    return "\n".join([*wrapped([head]), *rows, *wrapped(words)]) + "\n"


def _columns(comparison: Comparison) -> dict[str, str]:
    """What has a column, and its heading: groups, and benchmarks that are not alone in theirs."""
    keys = keys_of(comparison.benchmarks)
    alone = {names[0] for names in comparison.benchmarks.values() if len(names) == 1}
    short = {key: key.removeprefix("demo/") for key in keys}
    # The embedded tasks' parts are named as the groups are.
    wide = {key: name if name not in keys else key for key, name in short.items()}
    wide = {key: name for key, name in wide.items() if key not in alone}
    if len(wide) <= _MOST_COLUMNS:
        return wide
    return {key: key for key in comparison.benchmarks if key in keys}


def _rows(comparison: Comparison, columns: dict[str, str]) -> list[list[str]]:
    first = comparison.methods[0].label
    keys = keys_of(comparison.benchmarks)
    rows = [["", "learning rate", *columns.values(), "cut off", f"{HEADLINE} minus {first}"]]
    if comparison.untuned:
        untuned = [_untuned_mean(comparison, keys[key]) for key in columns]
        rows.append(["untuned", "", *untuned, _cut(comparison.untuned_cut(), comparison), ""])
    for method in comparison.methods:
        rate, difference = method.sweep.learning_rate, method.difference.get(HEADLINE)
        rows.append(
            [
                method.label,
                "failed" if rate is None else rate_text(rate),
                *(interval(method.scores[key]) if method.scores else "" for key in columns),
                _cut(method.cut, comparison),
                interval(difference.difference.estimate, signed=True) if difference else "",
            ]
        )
    return rows


def _cut(shares: Mapping[str, float], comparison: Comparison) -> str:
    """The share of all benchmarks' answers that were cut off, in percent; empty if it is not known."""
    known = [shares[name] for name in comparison.names if name in shares]
    if not known or len(known) < len(comparison.names):
        return ""
    return f"{points(sum(known) / len(known))} %"


def _untuned_mean(comparison: Comparison, names: Sequence[str]) -> str:
    if any(name not in comparison.untuned for name in names):
        return ""
    return points(sum(comparison.untuned[name].accuracy for name in names) / len(names))
