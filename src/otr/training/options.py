"""Options passed through to another library's config class, checked here first."""

import dataclasses
import typing
import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from otr.errors import UserError, problem_words, suggestion

_WIDER: dict[str, Any] = {"fsdp": bool | str | list[str] | None}
"""What fields take that their annotation does not say."""


def built(kind: type, section: str, options: Mapping[str, Any], **fixed: Any) -> Any:
    """An instance of a dataclass from a section's options and some fixed ones.

    Raises: UserError that names the option: unknown, of the wrong type, or refused by `kind`.
    """
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(kind)
    values = {}
    for option, value in options.items():
        if option in fixed:
            raise UserError(
                f"{section}.{option}: set by otr itself ({_reason(option)}); leave it out"
            )
        if option not in fields:
            raise UserError(
                f"{section}.{option}: {kind.__name__} has no such field{suggestion(option, fields)}"
            )
        hint = _WIDER.get(option, hints[option])
        values[option] = _converted(f"{section}.{option}", value, hint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return kind(**values, **fixed)
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"{section}: {str(error).strip()[:500]}") from error


def _converted(name: str, value: Any, hint: Any) -> Any:
    """The value as the field's type; where that type cannot be checked, as it is."""
    try:
        adapter = TypeAdapter(hint)
    except (PydanticUserError, TypeError, NameError):
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        words = problem_words(error.errors()[0])
        raise UserError(f"{name}: {words}, found {value!r}") from None


def _reason(option: str) -> str:
    return {
        "output_dir": "give `output_dir:` at the top of the file",
        "seed": "give `seed:` at the top of the file",
        "loss_type": "give `objective:`",
    }.get(option, "it has no other value here")
