"""Exceptions whose text is for the user."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


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


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of `known`, capitals and small letters alike, or an
    empty string."""
    by_small = {name.lower(): name for name in known}
    nearest = get_close_matches(word.lower(), list(by_small), n=1, cutoff=0.6)
    return f"; did you mean {by_small[nearest[0]]!r}?" if nearest else ""


def file_suggestion(path: Path) -> str:
    """`suggestion` among the files that stand where `path` should."""
    try:
        return suggestion(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""
