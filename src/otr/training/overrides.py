"""Settings on the command line that replace those of a run or study file."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from otr.errors import UserError


@dataclass(frozen=True)
class Override:
    """One dotted key and its value: `training.learning_rate=2e-5`; values are YAML."""

    text: str
    """As it was written."""

    keys: tuple[str, ...]
    value: Any

    def apply(self, document: dict[str, Any]) -> None:
        """Set the key in a document.

        Raises: UserError if it passes through a value that is no section.
        """
        *sections, last = self.keys
        for section in sections:
            if document.get(section) is None:
                document[section] = {}
            document = document[section]
            if not isinstance(document, dict):
                raise UserError(f"override {self.text!r}: {section} is a value, not a section")
        document[last] = self.value

    def inside(self) -> "Override":
        """The same, seen from within its first section."""
        return Override(self.text, self.keys[1:], self.value)

    @property
    def place(self) -> str:
        """Where a mistake in its value stands."""
        return f"{self.text} (command line)"


def read_override(text: str) -> Override:
    """An override as it stands on the command line.

    Raises: UserError if it is not of the form `section.key=value`, or its value is not YAML.
    """
    match = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(.*)", text, re.DOTALL)
    if match is None:
        raise UserError(
            f"override {text!r}: expected section.key=value, such as training.max_steps=100"
        )
    try:
        value = YAML(typ="safe", pure=True).load(io.StringIO(match[2]))
    except YAMLError:
        raise UserError(f"override {text!r}: the value is not valid YAML; quote it") from None
    return Override(text, tuple(match[1].split(".")), value)


def overriding(overrides: Sequence[Override], names: Sequence[str]) -> Override | None:
    """The override that a value comes from, by the keys that lead to it; None for the file's own."""
    for override in reversed(overrides):
        if tuple(names[: len(override.keys)]) == override.keys:
            return override
    return None
