"""Values of Arrow tables as rows had them before: JSON as its value, invented nulls left out.

Arrow gives every nested object the fields of all others, null if they were missing. A null that was
there before cannot be told from these, unless the table holds the objects as JSON (the type `Json` of
the datasets library).
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

_Path = tuple[Any, ...]
"""The fields that lead to a value, as (fields before, field); empty for a column."""


def features_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The types of the columns that the datasets library has noted in a parquet file's metadata."""
    with suppress(ValueError, KeyError, TypeError):
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return features if isinstance(features, dict) else {}
    return {}


def row_values(
    features: Mapping[str, Any], *, decodes: bool
) -> Callable[[dict[str, Any]], tuple[dict[str, Any], frozenset[str]]]:
    """A function from a table's row to its values and the nested fields whose null was left out,
    such as `tools.parameters.default`. Null columns are kept.

    Args:
        features: types of the columns, as `datasets.Features.to_dict` and parquet files have them.
        decodes: whether columns of type Json hold text that is still to be decoded.
    """
    known: dict[frozenset[str], frozenset[str]] = {}

    def values_of(row: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
        left_out: set[str] = set()
        values = {
            name: _restored(value, features.get(name), decodes, ((), name), left_out)
            for name, value in row.items()
        }
        # Millions of rows share a few sets.
        found = frozenset(left_out)
        return values, known.setdefault(found, found)

    return values_of


def _restored(value: Any, feature: Any, decodes: bool, path: _Path, left_out: set[str]) -> Any:
    is_typed = isinstance(feature, dict) and isinstance(feature.get("_type"), str)
    if is_typed and feature["_type"] == "Json":
        if decodes and isinstance(value, str):
            with suppress(ValueError, RecursionError):
                return json.loads(value)
        return value
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            if item is None:
                left_out.add(_name((path, key)))
            else:
                inner = feature.get(key) if isinstance(feature, dict) else None
                kept[key] = _restored(item, inner, decodes, (path, key), left_out)
        return kept
    if isinstance(value, list):
        inner = feature.get("feature") if is_typed else None
        inner = feature[0] if isinstance(feature, list) and feature else inner
        return [_restored(item, inner, decodes, path, left_out) for item in value]
    return value


def _name(path: _Path) -> str:
    before, field = path
    return f"{_name(before)}.{field}" if before else str(field)
