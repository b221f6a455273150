"""Equality of expressions by computer algebra: math-verify and sympy, one answer a line.

Run as a program it is a worker (`otr.evaluation.workers`): each line read holds a question in JSON,
each line written its verdict. It bounds its own memory and, by the kernel's count, the seconds of
each question: an answer such as 9^{9^{9^9}} ends this process and nothing else.
"""

import contextlib
import json
import math
import os
import sys
from functools import lru_cache
from typing import Any

from otr.evaluation.mathematics import same_answer

MEMORY_MB = 2048
_POINTS = (0.3718, 0.8341, 1.4142, 2.2360, 3.6056)
_DIGITS = 30


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
    """Whether two expressions are the same: as parsed, at a few points, or by math-verify.

    Expressions of the same variables are compared at points first, to 15 digits, or within the
    tolerance where a decimal number stands in one of them; what cannot be evaluated, such as
    inequalities, equations and sets, is compared by `math_verify.verify`.
    """
    from math_verify import verify

    given, wanted = parsed(one), parsed(other)
    if given is None or wanted is None:
        return False
    at_points = _same_at_points(given, wanted, tolerance)
    if at_points is not None:
        return at_points
    return bool(verify([wanted], [given], timeout_seconds=None))


@lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """The sympy object of an expression, or None where there is none."""
    from math_verify import LatexExtractionConfig, parse

    with contextlib.suppress(Exception):
        found = parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=None)  # pyright: ignore
        if found and not isinstance(found[0], str):
            return found[0]
    return None


def _same_at_points(given: Any, wanted: Any, tolerance: float) -> bool | None:
    """Whether two expressions have the same values; None if they cannot be evaluated."""
    import sympy

    if not (isinstance(given, sympy.Expr) and isinstance(wanted, sympy.Expr)):
        return None
    if given == wanted:
        return True
    names = given.free_symbols | wanted.free_symbols
    rounded = given.has(sympy.Float) or wanted.has(sympy.Float)
    relative = max(tolerance, 1e-15) if rounded else 1e-15
    symbols = sorted(names, key=str)
    num_compared = 0
    for shift in range(len(_POINTS) if symbols else 1):
        values = {
            symbol: sympy.Float(_POINTS[(place + shift) % len(_POINTS)] + 0.1 * place, _DIGITS)
            for place, symbol in enumerate(symbols)
        }
        pair = [_value(each, values) for each in (given, wanted)]
        if pair[0] is None or pair[1] is None:
            if symbols and (pair[0] is None) == (pair[1] is None):
                continue
            return None
        num_compared += 1
        if abs(pair[0] - pair[1]) > relative * max(abs(pair[1]), abs(pair[0])):
            return False
    return True if num_compared else None


def _value(expression: Any, values: dict[Any, Any]) -> Any:
    import mpmath
    import sympy

    try:
        number = sympy.N(expression.subs(values), _DIGITS)
        if number.is_number is not True or not number.is_finite:
            return None
        return mpmath.mpmathify(number._to_mpmath(100))
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return None


if __name__ == "__main__":
    main()
