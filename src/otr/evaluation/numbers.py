r"""Numbers as answers write them: `1,080.50`, `4.5e33`, `6.5 \times 10^{-2}`, `\frac{2}{3}`, `8%`."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# Larger powers of ten are left to the computer algebra system, and its limits.
_LARGEST_EXPONENT = 1000

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)"
_TEN = r"10\^(?:\{([-+]?\d{1,4})\}|(\d))"
_PLAIN = re.compile(rf"([-+]?)({_DECIMAL})(?:[eE]([-+]?\d{{1,4}}))?(%?)")
_SCIENTIFIC = re.compile(rf"([-+]?)(?:({_DECIMAL})(?:\\times|\\cdot|x)\s?)?{_TEN}")
_RATIO = re.compile(r"([-+]?)(?:\\frac\{([-+]?[\d.]+)\}\{([\d.]+)\}|([\d.]+)/([\d.]+))(%?)")
_MIXED = re.compile(r"([-+]?)(\d+)\\frac\{(\d+)\}\{(\d+)\}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number and how it was written."""

    value: Fraction
    is_decimal: bool
    """Whether it is written with a decimal point or a power of ten, and so may be rounded."""

    is_percent: bool = False


@lru_cache(maxsize=100_000)
def number_of(text: str) -> Number | None:
    """The number that a normalised text is, or None if it is anything else."""
    if len(text) > 400:
        return None
    if match := _PLAIN.fullmatch(text):
        sign, digits, exponent, percent = match.groups()
        if abs(int(exponent or 0)) > _LARGEST_EXPONENT:
            return None
        value = Fraction(digits.replace(",", "").rstrip(".") or "0") * Fraction(10) ** int(
            exponent or 0
        )
        rounded = exponent is not None or "." in digits
        return Number(-value if sign == "-" else value, rounded, bool(percent))
    if match := _SCIENTIFIC.fullmatch(text):
        sign, digits, braced, bare = match.groups()
        exponent = int(braced or bare)
        if abs(exponent) > _LARGEST_EXPONENT:
            return None
        value = Fraction((digits or "1").replace(",", "").rstrip(".")) * Fraction(10) ** exponent
        return Number(-value if sign == "-" else value, digits is not None and "." in digits)
    if match := _RATIO.fullmatch(text):
        sign, *parts, percent = match.groups()
        try:
            above, below = (Fraction(part.rstrip(".")) for part in parts if part is not None)
            value = above / below
        except (ValueError, ZeroDivisionError):
            return None
        rounded = any("." in part for part in parts if part)
        return Number(-value if sign == "-" else value, rounded, bool(percent))
    if match := _MIXED.fullmatch(text):
        sign, whole, above, below = match.groups()
        if int(below) == 0:
            return None
        value = int(whole) + Fraction(int(above), int(below))
        return Number(-value if sign == "-" else value, False)
    return None


def same_number(given: Number, wanted: Number, relative: float, absolute: float) -> bool:
    """Whether two numbers are the same: exactly, if both are written exactly or are whole; within
    a tolerance, if one of them is written as a decimal. A percentage is its value, or the number
    before the sign.
    """
    if _near(given, wanted, relative, absolute):
        return True
    if given.is_percent != wanted.is_percent:
        return any(
            _near(one, other, relative, absolute)
            for one in _readings(given)
            for other in _readings(wanted)
        )
    return False


def _readings(number: Number) -> tuple[Number, ...]:
    if not number.is_percent:
        return (number,)
    return (number, Number(number.value / 100, number.is_decimal))


def _near(given: Number, wanted: Number, relative: float, absolute: float) -> bool:
    if given.value == wanted.value:
        return True
    whole = given.value.denominator == 1 and wanted.value.denominator == 1
    small = abs(given.value) < 10**6 and abs(wanted.value) < 10**6
    difference = abs(given.value - wanted.value)
    if absolute and difference <= Fraction(absolute):
        return True
    if not (given.is_decimal or wanted.is_decimal) or (whole and small):
        return False
    return difference <= Fraction(relative) * abs(wanted.value)
