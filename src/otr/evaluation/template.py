"""Prompt templates: `{name}` and `{name.0}` are filled in, all other braces stand for themselves."""

import re
from collections.abc import Mapping
from typing import Any

_FIELD = re.compile(r"\{([A-Za-z_]\w*)(?:\.(\d+))?\}")


def fields_of(template: str) -> list[str]:
    """The names that a template asks for."""
    return [found.group(1) for found in _FIELD.finditer(template)]


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A template with its fields filled in; what is None or missing is left out.

    Raises: ValueError if a list is too short, or a value is no text.
    """

    def value(found: re.Match[str]) -> str:
        name, place = found.groups()
        held = values.get(name)
        if held is None:
            return ""
        if place is not None:
            if not isinstance(held, list) or len(held) <= int(place):
                raise ValueError(f"{name!r} has no item {place}")
            held = held[int(place)]
        if not isinstance(held, str | int | float):
            raise ValueError(f"{name!r} is {type(held).__name__}, not text")
        return str(held)

    return _FIELD.sub(value, template)
