"""What is shown: text of data and models made safe, and progress with and without a terminal."""

import sys
from typing import Any


def visible(text: str) -> str:
    r"""Text in which control, format and other unprintable characters are escapes like \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Lines:
    """A file for a progress bar where there is no terminal: each of its states is a line."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        # The bar's last state is drawn once more when it is closed.
        if text and text != self._last:
            sys.stderr.write(f"{text}\n")
            self._last = text

    def flush(self) -> None:
        sys.stderr.flush()


def bar_options(unit: str) -> dict[str, Any]:
    """How tqdm shows progress on stderr: a bar on a terminal; elsewhere, such as in a log file, a
    line at most every 15 seconds, with what is done, the time left and the figures."""
    if sys.stderr.isatty():
        return {"unit": unit, "dynamic_ncols": True, "mininterval": 0.2}
    return {
        "unit": unit,
        "file": _Lines(),
        "mininterval": 15.0,
        "bar_format": "{n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left{postfix}",
    }
