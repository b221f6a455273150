r"""Answers in mathematics: where one stands in a text, and when two are the same.

An answer is found in a text (`find_answer`), taken apart at its commas, brackets and unions
(`same_answer`), and its parts are compared as texts, as exact numbers, or else by `leaf`, which
needs a computer algebra system and runs elsewhere (`otr.evaluation.symbolic`). Without one, what
cannot be told cheaply is None.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain

from otr.evaluation.bases import in_base
from otr.evaluation.brackets import bracketed, elements, split_outside
from otr.evaluation.latex import normalized
from otr.evaluation.marks import marked
from otr.evaluation.matrices import Matrix, cells
from otr.evaluation.numbers import number_of, same_number

Leaf = Callable[[str, str], bool | None]
"""Whether two normalised expressions, answer and reference, are the same; None: cannot be told."""

# Longer answers are no answers; the limit bounds what matching and parsing may cost.
LONGEST_ANSWER = 1000

# Formulas are looked for at the end of a text.
_LONGEST_LINE = 4000
_MOST_BOXES = 50

_BOX = re.compile(r"\\f?boxed\s{0,3}(\{|\S)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ANSWER_IS = re.compile(r"answers?\**\s*(?:is|are|:|=)\s*:?\**\s*", re.IGNORECASE)
_MATH = re.compile(r"\$\$?([^$]{1,1000})\$\$?|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]", re.DOTALL)
_JOINED = re.compile(r"(?:\s|,|;|and|or|\\text|[{}])*")
_LAST_NUMBER = re.compile(
    r"[-\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:/\d+)?%?"
)


def boxed(text: str) -> str | None:
    r"""What the last \boxed{…} (or \fbox{…}) with balanced braces holds."""
    # Boxes that are never closed cost a look each, so only so many are looked at.
    for start in reversed(list(_BOX.finditer(text))[-_MOST_BOXES:]):
        inside = start.group(1) if start.group(1) != "{" else _balanced(text, start.end(1))
        if inside is not None and inside.strip():
            return inside.strip()
    return None


def _balanced(text: str, start: int) -> str | None:
    """The text from a place up to the brace that closes the one before it."""
    depth = 1
    for brace in _BRACE.finditer(text, start, start + LONGEST_ANSWER):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : brace.start()]
    return None


def find_answer(text: str) -> str | None:
    r"""The answer that a text gives: the last \boxed{…}; without one, what follows the last
    "answer is" or "answer:" on its line, or a `####` that is no heading; else the last formula in dollar signs on the
    last line, or the last number of the text.
    """
    if (inside := boxed(text)) is not None:
        return inside
    marks = list(_ANSWER_IS.finditer(text))
    if marks:
        stated = _stated(text[marks[-1].end() :][:_LONGEST_LINE])
        if stated:
            return stated
    if (after_mark := marked(text)) is not None:
        return after_mark
    last = text.strip().rpartition("\n")[2][-_LONGEST_LINE:]
    formulas = list(_MATH.finditer(last))
    if formulas:
        return _formulas_at(last, formulas[-1].start())
    numbers = [found.group() for found in _LAST_NUMBER.finditer(text) if found.group()]
    return numbers[-1] if numbers else None


def _stated(rest: str) -> str | None:
    """The answer at the beginning of a text: its formulas, or its first sentence."""
    first = _MATH.search(rest)
    line = rest.split("\n", 1)[0] if rest.strip() else ""
    if first and not rest[: first.start()].strip(" \n:*"):
        return _formulas_at(rest, first.start())
    line = re.split(r"\s*I hope it is correct|(?<!\d)\.(?=\s|$)|\.(?=\s*$)|(?<=\d)\.\s", line)[0]
    line = line.strip(" *:")
    return line[:LONGEST_ANSWER] or None


def _formulas_at(text: str, start: int) -> str | None:
    """The formulas from a place on that only commas, `and` or `or` stand between."""
    parts: list[str] = []
    place = start
    while formula := _MATH.match(text, place):
        parts.append(next(group for group in formula.groups() if group is not None).strip())
        place = _gap(text, formula.end())
    return ", ".join(parts)[:LONGEST_ANSWER] or None


def _gap(text: str, place: int) -> int:
    between = _JOINED.match(text, place)
    assert between is not None
    return between.end()


def same_answer(
    answer: str,
    reference: str,
    *,
    tolerance: float = 0.0,
    absolute: float = 0.0,
    unit: str | None = None,
    leaf: Leaf | None = None,
) -> bool | None:
    """Whether an answer is the reference; None if that cannot be told without `leaf`.

    Several answers are compared in any order, tuples and intervals with their brackets in theirs.
    `tolerance` is relative and `absolute` is not; they are for numbers of which one is written as
    a decimal. `unit` may follow the answer or not.
    """
    if len(answer) > LONGEST_ANSWER:
        return False

    def same(one: str, other: str) -> bool | None:
        if one == other:
            return True
        based = in_base(one), in_base(other)
        if based[0] or based[1]:
            return based[0] == based[1]
        numbers = number_of(one), number_of(other)
        if numbers[0] is not None and numbers[1] is not None:
            return same_number(numbers[0], numbers[1], tolerance, absolute)
        if one.isalpha() and len(one) > 2 and one.casefold() == other.casefold():
            return True
        if _is_word(one) and _is_word(other):
            return False
        return None if leaf is None else leaf(one, other)

    wanted, given = _without_unit(reference, unit), _without_unit(answer, unit)
    if wanted == given:
        return bool(wanted)
    if not given or not wanted:
        return False
    whole = number_of(given), number_of(wanted)
    if whole[0] is not None and whole[1] is not None:
        if same_number(whole[0], whole[1], tolerance, absolute):
            return True
    if "\\in" in given + wanted:
        pair = _without_variables(given, wanted)
        if pair is None:
            return False
        given, wanted = pair
        if given == wanted:
            return True
    return _same_list(elements(given), elements(wanted), same)


_MEMBER = re.compile(
    r"^(\\?[A-Za-z]+(?:_(?:[A-Za-z0-9]|\{[^{}]*\}))?)\\in(?![A-Za-z]) ?"
    r"((?:(?!\\in(?![A-Za-z]))[^=<>])+)$"
)


def _without_variables(one: str, other: str) -> tuple[str, str] | None:
    r"""Both without a variable before their only `\in`; None if the variables differ."""
    members = _MEMBER.match(one), _MEMBER.match(other)
    if members[0] and members[1] and members[0].group(1) != members[1].group(1):
        return None
    return (
        members[0].group(2) if members[0] else one,
        members[1].group(2) if members[1] else other,
    )


@lru_cache(maxsize=100_000)
def _without_unit(text: str, unit: str | None) -> str:
    text = normalized(text)
    unit = normalized(unit) if unit else ""
    if unit and text.endswith(unit) and text != unit:
        text = text[: -len(unit)]
    return text


def _is_word(text: str) -> bool:
    """Whether letters are a word or an abbreviation, and not variables multiplied."""
    return text.isalpha() and (len(text) > 3 or (text.isupper() and len(text) > 1))


def _same_list(given: Sequence[str], wanted: Sequence[str], same: Leaf) -> bool | None:
    """Whether two lists hold the same elements, each as often, in any order."""
    if len(given) != len(wanted):
        return _same_tuple_without_brackets(given, wanted, same)
    return _matched(given, wanted, lambda one, other: _same_element(one, other, same))


def _same_tuple_without_brackets(
    given: Sequence[str], wanted: Sequence[str], same: Leaf
) -> bool | None:
    """`2, 4` is `(2, 4)`, in this order."""
    for one, many, is_given in ((given, wanted, True), (wanted, given, False)):
        if len(one) == 1 and len(many) > 1:
            inside = bracketed(one[0])
            if inside and inside[0] == "()" and len(inside[1]) == len(many):
                return _all(
                    _same_element(part, other, same)
                    if is_given
                    else _same_element(other, part, same)
                    for part, other in zip(inside[1], many, strict=True)
                )
    return False


def _matched(given: Sequence[str], wanted: Sequence[str], same: Leaf) -> bool | None:
    """Whether each given element can be paired with a wanted one that is the same."""
    remaining = list(given)
    undecided = False
    for element in wanted:
        verdicts = [(same(one, element), one) for one in remaining] if len(remaining) < 65 else []
        found = next((one for verdict, one in verdicts if verdict), None)
        if found is not None:
            remaining.remove(found)
        elif any(verdict is None for verdict, _ in verdicts):
            undecided = True
        else:
            return False
    return None if undecided else True


def _same_element(one: str, other: str, same: Leaf) -> bool | None:
    if one == other:
        return True
    pair = _without_names(one, other)
    if pair is None:
        return False
    one, other = pair
    if one == other:
        return True
    unions = split_outside(one, "\\cup"), split_outside(other, "\\cup")
    if len(unions[0]) > 1 and len(unions[1]) > 1:
        if len(unions[0]) != len(unions[1]):
            return False
        return _matched(*unions, lambda a, b: _same_element(a, b, same))
    matrices = cells(one), cells(other)
    if matrices[0] and matrices[1]:
        return _same_matrix(matrices[0], matrices[1], same)
    inside, other_inside = bracketed(one), bracketed(other)
    if inside and other_inside:
        (kind, parts), (other_kind, other_parts) = inside, other_inside
        if kind != other_kind or len(parts) != len(other_parts):
            return False
        if kind == "{}":
            return _matched(parts, other_parts, lambda a, b: _same_element(a, b, same))
        return _all(_same_element(a, b, same) for a, b in zip(parts, other_parts, strict=True))
    return same(one, other)


def _same_matrix(given: Matrix, wanted: Matrix, same: Leaf) -> bool | None:
    """Whether two matrices of one kind have the same cells, each in its place."""
    if given[0] != wanted[0] or [*map(len, given[1])] != [*map(len, wanted[1])]:
        return False
    pairs = zip(chain.from_iterable(given[1]), chain.from_iterable(wanted[1]), strict=True)
    return _all(_same_element(one, other, same) for one, other in pairs)


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    undecided = False
    for verdict in verdicts:
        if verdict is False:
            return False
        undecided = undecided or verdict is None
    return None if undecided else True


_NAMED = re.compile(r"^((?:\\angle)?\\?[A-Za-z]+)[A-Za-z_{}\\,'0-9]*(?:\([A-Za-z,]*\))?=([^=<>]+)$")


def _without_names(one: str, other: str) -> tuple[str, str] | None:
    """Both without a name before an equals sign; None if they give values to different names."""
    names = _NAMED.match(one), _NAMED.match(other)
    if names[0] and names[1] and names[0].group(1) != names[1].group(1):
        return None
    return (
        names[0].group(2) if names[0] else one,
        names[1].group(2) if names[1] else other,
    )
