"""Answer rules: what counts as the answer in a text, and when two answers are the same."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from otr.evaluation.choices import chosen_letter
from otr.evaluation.marks import marked
from otr.evaluation.short_answers import bbeh_answer, bbeh_reference, plain_answer, same_in_bbeh
from otr.evaluation.sources import source_of


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
    r"(?:(?<![\w)\]%.])[-\u2212])?(?:\\?\$|[\u20ac\u00a3\u00a5\u20b9])?"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2}(?![\w.]))?"
    r"|(?<![\w.])\.[0-9]+"
)


def final_number(text: str) -> str | None:
    """The number after the first `####` that is no heading, on its line; without one, the last
    number of the text.

    The rule of GSM8K. Written plainly: no currency, no thousands separators, no trailing zeros,
    so that `$1,080.50`, `1{,}080.5` and `1080.5` are the same answer. Only the first `####` counts, because a
    model that does not stop goes on to questions of its own.
    """
    text = _with_commas(text)
    answer = marked(text)
    if answer is not None:
        number = _NUMBER.search(answer)
        if number:
            return _plain(number.group())
    numbers = _NUMBER.findall(text)
    return _plain(numbers[-1]) if numbers else None


_THOUSANDS = re.compile(
    r"(?<=[0-9])(?:\{,\}|\\,|\\!,|,\\!|['\u2019\u00a0\u2009\u202f])(?=[0-9]{3}(?![0-9]))"
)


def _with_commas(text: str) -> str:
    r"""A text with a comma for each separator of thousands: `1{,}080`, `1\,080`, `1'080`."""
    return _THOUSANDS.sub(",", text)


def _plain(number: str) -> str:
    value = Decimal(re.sub(r"[^0-9.eE+-]", "", number.replace("\u2212", "-")))
    written = f"{value:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return "0" if written in ("-0", "") else written


@dataclass(frozen=True, kw_only=True)
class TextRule:
    """A rule that compares texts."""

    find: Callable[[str], str | None]
    """The answer in an output, or None."""

    of_reference: Callable[[str], str | None]
    """The same for a reference."""

    same: Callable[[str, str], bool] = operator.eq
    """Whether an answer is the reference's."""


RULES = {
    "symbols": TextRule(find=last_symbols, of_reference=last_symbols),
    "number": TextRule(find=final_number, of_reference=final_number),
    "choice": TextRule(find=chosen_letter, of_reference=chosen_letter),
    "bbeh": TextRule(find=bbeh_answer, of_reference=bbeh_reference, same=same_in_bbeh),
    "text": TextRule(find=plain_answer, of_reference=plain_answer),
}
"""The rules that need nothing but texts; `math` and `code` are in `otr.evaluation.grading`."""


def grade(output: str, reference: str, benchmark: str) -> bool:
    """Whether a model's output gives the reference answer, by the rule of a benchmark.

    `benchmark` is a name as on the command line; its data are not read, so that `demo/longer` and
    `gsm8k=some/file.jsonl` are graded as `demo` and `gsm8k` are. `reference` may be the
    answer alone or a whole worked solution (of mathematics, one with a box). An output without an
    answer is wrong.
    Raises: UserError if the benchmark is unknown, its answers are programs, or the reference holds
    no answer.
    """
    from otr.evaluation.grading import grade_alone

    return grade_alone(output, reference, source_of(benchmark))
