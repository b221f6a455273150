"""The objectives, and how a run file names them.

To add one: a frozen dataclass in this folder, and its name in `ALL`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from otr.errors import suggestion
from otr.objectives.contrast import GEM, Unlikelihood
from otr.objectives.entropy import EAFT
from otr.objectives.otr import OTR
from otr.objectives.probability import DFT, Focal, Power
from otr.objectives.seam import Anchor, Needs, Objective, Statistics, Weights
from otr.objectives.sft import SFT, LabelSmoothing

ALL: tuple[type[Objective], ...] = (
    SFT,
    LabelSmoothing,
    OTR,
    DFT,
    Power,
    EAFT,
    Focal,
    GEM,
    Unlikelihood,
)

__all__ = [
    "ALL",
    "DFT",
    "EAFT",
    "GEM",
    "OTR",
    "SFT",
    "Anchor",
    "Focal",
    "LabelSmoothing",
    "Needs",
    "Objective",
    "Power",
    "Statistics",
    "Unlikelihood",
    "Weights",
    "in_words",
    "label_in_words",
    "objective_from_options",
    "option_names",
    "options_of",
    "require_objective",
    "set_options",
]


def require_objective(value: object) -> Objective:
    """The value, which must be an objective. Raises: ValueError if it is none."""
    if not isinstance(value, Objective):
        raise ValueError(f"objective must be one of otr's, such as OTR(), found {value!r}")
    return value


def objective_from_options(options: Mapping[str, Any]) -> Objective:
    """The objective of a run file's section: its `name`, and its own options.

    Raises: ValueError that names the option, with the nearest right one.
    """
    by_name = {kind.name: kind for kind in ALL}
    options = dict(options)
    name = options.pop("name", None)
    if name is None:
        raise ValueError(
            f"objective.name: is missing; add one of {', '.join(by_name)}, as in objective.name=otr"
        )
    if name not in by_name:
        raise ValueError(
            f"objective.name must be one of {', '.join(by_name)}, found {name!r}"
            + suggestion(str(name), by_name)
        )
    kind = by_name[name]
    known = {field.name for field in dataclasses.fields(kind)}
    for option in options:
        if option not in known:
            takes = ", ".join(sorted(known)) if known else "no options"
            raise ValueError(
                f"objective.{option}: {name} has no such option"
                f"{suggestion(str(option), [*known, 'name'])} "
                f"(it takes {takes})"
            )
    try:
        if isinstance(options.get("anchor"), Mapping):
            options["anchor"] = _anchor(options["anchor"])
        return kind(**options)
    except ValueError as error:
        raise ValueError(f"objective.{error}") from None


def option_names() -> set[str]:
    """The options of all objectives."""
    return {field.name for kind in ALL for field in dataclasses.fields(kind)}


def _anchor(options: Mapping[str, Any]) -> Anchor:
    known = {field.name for field in dataclasses.fields(Anchor)}
    for option in options:
        if option not in known:
            raise ValueError(f"anchor.{option}: no such option{suggestion(str(option), known)}")
    try:
        return Anchor(**options)
    except ValueError as error:
        raise ValueError(f"anchor.{error}") from None


def options_of(objective: Objective) -> dict[str, Any]:
    """The section of a run file that gives this objective."""
    return {"name": objective.name, **dataclasses.asdict(objective)}


def in_words(objective: Objective) -> str:
    """The objective's name, and the options that are not as they are unless given:
    `otr with num_rollouts=64`."""
    given = [option_words(*each) for each in set_options(objective).items()]
    return objective.name + (f" with {', '.join(given)}" if given else "")


def set_options(objective: Objective) -> dict[str, Any]:
    """The options that are not as they are unless given."""
    usual = type(objective)()
    return {
        field.name: value
        for field in dataclasses.fields(objective)
        if (value := getattr(objective, field.name)) != getattr(usual, field.name)
    }


def option_words(option: str, value: Any) -> str:
    """`num_rollouts=64`, `anchor=forward 0.05`; an anchor may be the section that gives it."""
    if isinstance(value, Anchor):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        value = "{direction} {kl}".format_map(dataclasses.asdict(Anchor()) | dict(value))
    return f"{option}={value:g}" if isinstance(value, float) else f"{option}={value}"


_LONGEST_ACRONYM = 4
"""SFT, DFT, GEM, EAFT, GRPO; longer names are words."""


def label_in_words(name: str, options: Mapping[str, Any]) -> str:
    """A method by its name and some options: `OTR (exact)`, `SFT (anchor=forward 0.05)`, `Label
    smoothing`."""
    words = [option_words(*each) for each in options.items()]
    words = ["exact" if each == "num_rollouts=exact" else each for each in words]
    shown = name.upper() if len(name) <= _LONGEST_ACRONYM else name.replace("-", " ").capitalize()
    return shown + (f" ({', '.join(words)})" if words else "")
