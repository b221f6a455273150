"""Exceptions whose text is for the user."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in a config, a data file, a model folder or an option.

    The message names the file, line, field or setting, says what was found, and gives the way
    out, in a few lines. The command line prints it without a traceback and exits with status 2.
    """


class ProcessLost(RuntimeError):
    """A run of several processes ended because one of them is gone or cannot be reached.

    The message says when, what was seen and how to go on. The command line prints it without a
    traceback and exits with status 1.
    """


def first_line(error: BaseException, longest: int = 300) -> str:
    """What another library's error says first, which may go on for pages; its kind if nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:longest]


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of `known`, or an empty string."""
    nearest = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
