"""Multiple choice: the letter that an answer chooses."""

import re

from otr.evaluation.mathematics import boxed

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Matched against text with single blanks or line breaks, so that no two parts compete for a run of
# them.
_LETTER = (
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s?\{\s?)?[*_`\"'$]{0,4}[\[(]?\s?([A-Z])"
    r"(?![A-Za-z0-9'\u2019])"
)
_STATED = re.compile(
    r"(?:answer|option|choice)\*{0,2}\s?(?:is|are|:|=|(?:would|must|should)\sbe)\s?:?\*{0,2}\s?"
    r"(?:(?:definitely|clearly|therefore|thus|indeed)\s)?(?:the\s)?(?:(?:option|choice|letter)\s)?"
    + _LETTER,
    re.IGNORECASE,
)
# `A` and `I` before a small letter are words, but not before these.
_GOES_ON = {
    "A": re.compile(
        r"\s(?:because|since|as|and|or|but|is|are|which|due to|so|if|by|in|on|from|for|not|here|"
        r"therefore|thus|hence|though|although|rather|according|given (?:that|the|how))(?=[\s,:])"
    ),
    "I": re.compile(r"\s(?:because|since|as|is|which|due to|but not|rather than)(?=[\s,:])"),
}
_RIGHT = re.compile(
    r"\s(?:because|since|due to|is (?:(?:definitely|clearly|therefore|thus|indeed) )?(?:the )?"
    r"(?:only |most )?(?:correct|right|true|best|answer|appropriate|likely))(?![A-Za-z-])"
)
_ALONE = re.compile(
    r"\W{0,8}(?:option\W{1,8}|choice\W{1,8})?([A-Z])(?:[).:\]]|\W{0,20}$)", re.IGNORECASE
)
_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
_STANDING = re.compile(r"(?<![A-Za-z0-9'\\])([A-Z])(?![A-Za-z0-9'\u2019])")


def chosen_letter(text: str) -> str | None:
    r"""The letter that a text chooses, as a capital.

    In this order: the last \boxed{…}; the last "answer is (C)", "Answer: C" and the like; a last or
    else a first line that is only a letter, or begins with one and a bracket or full stop; the
    last letter in brackets; the last letter that stands alone in the last line. What reads as the
    word `A` or `I` is no letter.
    """
    if (inside := boxed(text)) is not None:
        found = re.match(" ?" + _LETTER, inside)
        if found:
            return found.group(1)
    # IGNORECASE is for the words; a letter chosen is a capital, or the only one in brackets.
    stated = [
        found.group(1) for found in _STATED.finditer(_single_blanks(text)) if _is_chosen(found)
    ]
    if stated:
        return stated[-1].upper()
    lines = [line for line in text.splitlines() if line.strip()]
    for line in (*lines[-1:], *lines[:1]):
        if (found := _ALONE.match(line)) and found.group(1).isupper():
            return found.group(1)
    bracketed = _IN_BRACKETS.findall(text)
    if bracketed:
        return bracketed[-1]
    letters = [
        found.group(1)
        for found in _STANDING.finditer(lines[-1] if lines else "")
        if not _is_word(found) or _RIGHT.match(lines[-1], found.end())
    ]
    return letters[-1] if letters else None


def _single_blanks(text: str) -> str:
    """A text with a line break, or else one blank, between any two words."""
    return re.sub(r"\s+", lambda found: "\n" if "\n" in found.group() else " ", text)


def _is_chosen(found: re.Match[str]) -> bool:
    letter = found.group(1)
    rest = found.string[found.end(1) : found.end(1) + 2]
    if letter.islower():
        return rest[:1] in (")", "]") or not rest.strip(".* \n")
    if not _is_word(found):
        return True
    return rest[0] == "\n" or _GOES_ON[letter].match(found.string, found.end(1)) is not None


def _is_word(found: re.Match[str]) -> bool:
    """Whether a letter may be the word `A` or `I`: a small letter follows."""
    return found.group(1) in "AI" and bool(
        re.match(r"\s+[a-z]", found.string[found.end(1) :][:200])
    )
