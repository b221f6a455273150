"""Answer rules: what counts as the answer in a text, and when two answers are the same."""

import re
from collections.abc import Callable
from decimal import Decimal

from otr.errors import UserError, suggestion


def last_symbols(text: str) -> str | None:
    """The symbols between the first `ans` and the full stop after it, a space between them.

    The rule of the embedded tasks. A text without `ans` is taken to be the answer itself if it
    is nothing but single letters and digits; without the full stop there is no answer.
    """
    words = text.split()
    if "ans" in words:
        words = words[words.index("ans") + 1 :]
        if "." not in words:
            return None
        words = words[: words.index(".")]
    if not words or any(len(word) > 1 or not word.isalnum() for word in words):
        return None
    return " ".join(words)


# A sign counts only where no operand stands before it: `7-3` holds 7 and 3.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]%.])[-\u2212])?[$\u20ac\u00a3]?"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"|(?<![\w.])\.[0-9]+"
)


def final_number(text: str) -> str | None:
    """The number after the first `####`, on its line; without one, the last number of the text.

    The rule of GSM8K. Written plainly: no currency, no thousands separators, no trailing zeros,
    so that `$1,080.50` and `1080.5` are the same answer. Only the first `####` counts, because a
    model that does not stop goes on to questions of its own.
    """
    _, marker, rest = text.partition("####")
    if marker:
        number = _NUMBER.search(rest.lstrip().split("\n", 1)[0])
        if number:
            return _plain(number.group())
    numbers = _NUMBER.findall(text)
    return _plain(numbers[-1]) if numbers else None


def _plain(number: str) -> str:
    value = Decimal(re.sub(r"[^0-9.-]", "", number.replace("\u2212", "-")))
    written = f"{value:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return "0" if written in ("-0", "") else written


RULES: dict[str, Callable[[str], str | None]] = {"symbols": last_symbols, "number": final_number}
"""What finds the answer in a text, written so that equal answers are equal strings."""

BENCHMARK_RULES = {"demo": "symbols", "gsm8k": "number"}
"""The rule of each known benchmark."""


def rule_name(benchmark: str) -> str:
    """The answer rule of a benchmark, named as on the command line.

    `demo/longer` and `gsm8k=some/file.jsonl` have the rules of `demo` and `gsm8k`.
    Raises: UserError if the benchmark is unknown.
    """
    family = benchmark.split("=", 1)[0].split("/", 1)[0]
    if family not in BENCHMARK_RULES:
        raise UserError(
            f"benchmark: {family!r} is not known{suggestion(family, BENCHMARK_RULES)}; "
            f"known are {', '.join(BENCHMARK_RULES)}"
        )
    return BENCHMARK_RULES[family]


def extract(text: str, benchmark: str) -> str | None:
    """The answer in a text by the rule of a benchmark, or None."""
    return RULES[rule_name(benchmark)](text)


def grade(output: str, reference: str, benchmark: str) -> bool:
    """Whether a model's output gives the reference answer, by the rule of a benchmark.

    `reference` may be the answer alone or a whole worked solution. An output without an answer
    is wrong.
    Raises: UserError if the benchmark is unknown, or the reference holds no answer.
    """
    wanted = extract(reference, benchmark)
    if wanted is None:
        raise UserError(f"{benchmark}: the reference {reference!r} holds no answer")
    return extract(output, benchmark) == wanted
