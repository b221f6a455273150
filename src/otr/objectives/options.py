"""Checks of an objective's options; each error names the field."""

import math


def require_number(
    field: str,
    value: object,
    *,
    above: float | None = None,
    below: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Raise ValueError unless `value` is a finite number within the bounds that are given."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{field} must be a finite number, found {value!r}")
    bounds = [
        (f"above {above:g}", value > above) if above is not None else None,
        (f"at least {least:g}", value >= least) if least is not None else None,
        (f"below {below:g}", value < below) if below is not None else None,
        (f"at most {most:g}", value <= most) if most is not None else None,
    ]
    given = [bound for bound in bounds if bound is not None]
    if not all(holds for _, holds in given):
        words = " and ".join(words for words, _ in given)
        raise ValueError(f"{field} must be {words}, found {value!r}")


def require_count(field: str, value: object) -> None:
    """Raise ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be a whole number of at least 1, found {value!r}")
