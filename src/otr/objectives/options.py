"""Checks of an objective's options; each error names the field."""

import math


def require_number(field: str, value: object, *, above: float = -math.inf, below: float = math.inf):
    """Raise ValueError unless `value` is a finite number with above < value < below."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{field} must be a finite number, found {value!r}")
    if not above < value < below:
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (
            below < math.inf
        )
        raise ValueError(f"{field} must be {' and '.join(bounds)}, found {value!r}")


def require_count(field: str, value: object) -> None:
    """Raise ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be a whole number of at least 1, found {value!r}")
