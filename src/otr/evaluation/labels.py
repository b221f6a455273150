"""Names of a study's methods: the objective's name and what tells it from others of that name."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from otr.objectives import label_in_words

_OFF: dict[str, Any] = {"floor": 0, "entropy_bonus": 0, "anchor": None}
"""Options that every objective has, and the value that switches them off."""

_UNKNOWN = object()

_MOST_NAMED = 5


def labels_of(objectives: Sequence[dict[str, Any]]) -> list[str]:
    """A label for each objective: its name in capitals, and in brackets the options in which it
    is set off from others of that name in the study.

    `OTR`, `OTR (num_rollouts=64)`, `OTR (exact)`, `SFT (anchor=forward 0.05)`. What is switched
    off, or as in most others of the name, goes unsaid; where no value is the usual one, each is
    said.
    """
    return [_label(objective, objectives) for objective in objectives]


def title_of(labels: Sequence[str], model: str) -> str:
    """What is compared, in words, for a study that has no title of its own."""
    words = f"{len(labels)} objectives"
    if len(labels) <= _MOST_NAMED:
        *others, last = labels
        words = f"{', '.join(others)} and {last}" if others else last
    is_folder = model.startswith((".", "/", "~"))
    return f"{words} on {PurePath(model).name if is_folder else model}"


def _label(objective: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    values: dict[str, list[Any]] = {}
    namesakes = [other for other in others if other["name"] == objective["name"]]
    for option in sorted(set().union(*namesakes)):
        values[option] = [other.get(option) for other in namesakes]
    telling = {
        option: objective.get(option)
        for option, among in values.items()
        if any(value != among[0] for value in among)
        and objective.get(option) != _usual(option, among)
    }
    return label_in_words(str(objective["name"]), telling)


def _usual(option: str, values: list[Any]) -> Any:
    """The value that goes unsaid: at most one, so that different objectives differ in words."""
    if option in _OFF:
        return _OFF[option]
    if None in values:
        return None
    ranked = Counter(map(repr, values)).most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return _UNKNOWN
    return next(value for value in values if repr(value) == ranked[0][0])
