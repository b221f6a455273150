"""Equality of expressions by computer algebra: math-verify and sympy, one answer a line.

Run as a program it is a worker (`otr.evaluation.workers`): each line read holds a question in JSON,
each line written its verdict. It bounds its own memory and, by the kernel's count, the seconds of
each question: an answer such as 9^{9^{9^9}} ends this process and nothing else.
"""

import contextlib
import json
import math
import os
import re
import sys
from functools import lru_cache
from typing import Any

from otr.evaluation.mathematics import same_answer

MEMORY_MB = 2048
_POINTS = (0.3718, 0.8341, 1.4142, 2.2360, 3.6056)
_DIGITS = 60


def main() -> None:
    """Answer questions until there are no more."""
    limit_seconds = int(sys.argv[1])
    _bound_memory()
    import sympy  # noqa: F401
    from math_verify import parse  # noqa: F401

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # What libraries print must not be taken for a verdict.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for line in sys.stdin:
        _bound_seconds(limit_seconds)
        answers.write(json.dumps(_verdict(json.loads(line))) + "\n")
        answers.flush()


def _verdict(question: dict[str, Any]) -> dict[str, Any]:
    tolerance = question["tolerance"]

    def leaf(one: str, other: str) -> bool | None:
        return same_expression(one, other, tolerance)

    try:
        return {"correct": bool(same_answer(**question, leaf=leaf)), "problem": None}
    except MemoryError:
        return {"correct": False, "problem": "too large"}
    except (RecursionError, OverflowError):
        return {"correct": False, "problem": "too deeply nested"}


def _bound_memory() -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB * 2**20, MEMORY_MB * 2**20))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _bound_seconds(limit: int) -> None:
    """Have the kernel end this process after so many more seconds on a processor."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = math.ceil(usage.ru_utime + usage.ru_stime)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + limit, most))


def same_expression(one: str, other: str, tolerance: float) -> bool:
    """Whether two normalised expressions are the same: by their values, or by math-verify.

    Rational numbers are compared exactly, other expressions of the same variables at a few points
    to 40 digits, or within the tolerance where a decimal number stands in one of them. Equations
    are the same if what is zero in one is a constant times what is zero in the other. What has no
    values, such as inequalities and sets, is compared by `math_verify.verify`.
    """
    from math_verify import verify

    given, wanted = parsed(one), parsed(other)
    if given is None or wanted is None:
        return False
    by_value = _same_value(given, wanted, tolerance)
    if by_value is not None:
        return by_value
    return bool(
        verify([wanted], [given], timeout_seconds=None, allow_set_relation_comp=True)  # pyright: ignore
    )


_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho"
    "|sigma|tau|upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega|hbar|ell"
)
_NAME = re.compile(
    r"\\(?P<accent>d?dot|hat|bar|vec|tilde)(?:\{\\?(?P<under>[A-Za-z]+)\}|\s?(?P<letter>[A-Za-z]))"
    r"(?P<subscript>_(?:\{[^{}]*\}|[A-Za-z0-9]))?"
    rf"|\\(?P<greek>{_GREEK})(?![A-Za-z])\s?(?P<greek_subscript>_(?:\{{[^{{}}]*\}}|[A-Za-z0-9]))?"
    r"|\\[A-Za-z]+"
    r"|(?P<primed>[A-Za-z](?:\^\{?(?:\\prime\s?)+\}?|'+))(?P<argument>\([A-Za-z0-9]\))?"
    r"|(?P<applied>[A-Zfghuvwxyp]\([0-9tsxnz]\))"
    r"|(?P<capital>[A-Z](?:_(?:\{[^{}]*\}|[A-Za-z0-9]))?)"
)


def _with_plain_names(text: str) -> str:
    """What the parser would take for functions, for products or for lower case, as variables: Greek
    and capital letters, letters with accents, with primes, and applied as in x(t) or I(0)."""

    def variable(found: re.Match[str]) -> str:
        parts = [part for part in found.groupdict().values() if part]
        if not parts:
            return found.group()
        letters = re.sub(r"[^A-Za-z0-9]", "", "".join(parts).replace("'", "prime"))
        # The parser does not tell T from t.
        return f" q_{{{re.sub('[A-Z]', lambda one: 'cap' + one.group().lower(), letters)}}} "

    return _NAME.sub(variable, text)


@lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """The sympy object of an expression, or None where there is none."""
    import sympy
    from math_verify import LatexExtractionConfig, parse

    with contextlib.suppress(Exception):
        found = parse(
            f"${_with_plain_names(text)}$",
            [LatexExtractionConfig()],
            parsing_timeout=None,  # pyright: ignore[reportArgumentType]
        )
        if found and not isinstance(found[0], str):
            # The parser's assumptions about a name, and whether it takes an i for the imaginary
            # unit, hang on what stands beside it.
            return found[0].xreplace(
                {
                    symbol: sympy.I if symbol.name == "i" else sympy.Symbol(symbol.name)
                    for symbol in found[0].free_symbols
                }
            )
    return None


def _same_value(given: Any, wanted: Any, tolerance: float) -> bool | None:
    """Whether two expressions have the same values, or two equations the same solutions; None if
    that cannot be told from values."""
    import sympy

    if isinstance(given, sympy.Eq) and isinstance(wanted, sympy.Eq):
        sides: Any = given.lhs, given.rhs, wanted.lhs, wanted.rhs
        ratios = _at_points(sides[0] - sides[1], sides[2] - sides[3])
        if len(ratios) < 3 or any(not one or not other for one, other in ratios):
            return None
        first = ratios[0][0] / ratios[0][1]
        same = all(_near(one, first * other, 1e-40) for one, other in ratios)
        return True if same else None
    if not (isinstance(given, sympy.Expr) and isinstance(wanted, sympy.Expr)):
        return None
    if given == wanted:
        return True
    if not given.free_symbols and not wanted.free_symbols:
        exact = given.doit(), wanted.doit()
        if all(isinstance(each, sympy.Rational) for each in exact):
            return exact[0] == exact[1]
    rounded = given.has(sympy.Float) or wanted.has(sympy.Float)
    values = _at_points(given, wanted)
    if not values:
        return None
    return all(
        _near(one, other, max(tolerance, 1e-15) if rounded else 1e-40) for one, other in values
    )


def _near(one: Any, other: Any, relative: float) -> bool:
    return abs(one - other) <= relative * max(abs(one), abs(other))


def _at_points(given: Any, wanted: Any) -> list[tuple[Any, Any]]:
    """Both values at each point where both are finite; none if only one of them ever is."""
    import sympy

    symbols = sorted(given.free_symbols | wanted.free_symbols, key=str)
    values = []
    for shift in range(len(_POINTS) if symbols else 1):
        point = {
            symbol: sympy.Float(_POINTS[(place + shift) % len(_POINTS)] + 0.1 * place, _DIGITS)
            for place, symbol in enumerate(symbols)
        }
        one, other = _value(given, point), _value(wanted, point)
        if one is not None and other is not None:
            values.append((one, other))
        elif one is not None or other is not None:
            return []
    return values


def _value(expression: Any, point: dict[Any, Any]) -> Any:
    import mpmath
    import sympy

    try:
        number = sympy.N(expression.subs(point), _DIGITS)
        if number.is_number is not True or not number.is_finite:
            return None
        with mpmath.workdps(_DIGITS):
            return mpmath.mpmathify(number._to_mpmath(4 * _DIGITS))
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return None


if __name__ == "__main__":
    main()
