"""Answers after `####`, told from headings in Markdown."""

import re

_MARK = re.compile(r"#{4,}([^\n]*)")
_ANSWER = re.compile(
    r"[\s*_]*(?:(?:the|my|final|so|hence|thus|therefore|correct)\s+){0,3}answer\b(?:\s+is\b)?[\s*_:=]*",
    re.IGNORECASE,
)
# `1. Add them up`, and words: `Step 1`, `Adding up`.
_NUMBERED = re.compile(r"\d{1,3}\s?[.):]\s+\W{0,3}[A-Za-z]")
_WORDS = re.compile(r"[A-Za-z]{2}|[A-Za-z]\s+[a-z]{2}")
_STEP = re.compile(
    r"(?:step|part|case|method|approach|section|question|problem|example|option|day|week|month|year"
    r"|stage|phase|solution|calculation|task)s?\s+(?:\d|[A-Z]\b)",
    re.IGNORECASE,
)


def marked(text: str) -> str | None:
    """What follows the first `####` that is no heading, on its line; None without one.

    Only the first counts, because a model that does not stop goes on to questions of its own. Under
    a heading "Answer" it is the next line that is not empty. Words after a mark are an answer if
    there is no other mark and they are no step's heading.
    """
    marks = list(_MARK.finditer(text))
    for mark in marks:
        line = mark.group(1).strip(" \t\r*_#")
        if (heading := _ANSWER.match(line)) is not None:
            below = text[mark.end() :].lstrip().split("\n", 1)[0]
            found = line[heading.end() :].strip(" *_") or below.strip(" *_")
            if found:
                return found
        elif line and not _WORDS.match(line) and not _NUMBERED.match(line):
            return line
    if len(marks) == 1:
        line = marks[0].group(1).strip(" \t\r*_#")
        if line and not _STEP.match(line) and not _NUMBERED.match(line):
            return line
        if not line:
            below = text[marks[0].end() :].strip().split("\n", 1)[0].strip()
            return below or None
    return None
