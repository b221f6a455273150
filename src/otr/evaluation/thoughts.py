"""Thoughts that reasoning models write before their answers; no answer is looked for in them."""

import re

# Names as models and their templates write them; other pairs would take prose or programs away.
_TAG = re.compile(
    r"<(?P<end>/?)(?:think|thinking|thought|reasoning|seed:think)>|\[(?P<square_end>/?)THINK\]"
)
_OPENED_LAST = re.compile(rf"(?:{_TAG.pattern})\s*\Z")
_QUOTES = "\"'`"


def without_thoughts(text: str, prompt: str = "") -> str:
    """A text without what stands between `<think>` and `</think>`, or tags like them.

    A thought that is never closed goes on to the end of the text. One that the prompt opens, as
    DeepSeek-R1's chat template does, begins the text; so does one that is closed and never opened.
    Tags in quotes or backticks, as in a program about them, are text.
    """
    kept: list[str] = []
    place = quoted_to = 0
    last = _OPENED_LAST.search(prompt[-40:])
    thinks = last is not None and not _ends(last)
    for tag in _TAG.finditer(text):
        if tag.start() and text[tag.start() - 1] in _QUOTES:
            # The other end of a program's r"<think>.*?</think>" is text, too.
            if not _ends(tag) and not thinks:
                line_end = text.find("\n", tag.end())
                quoted_to = len(text) if line_end < 0 else line_end
        elif tag.start() < quoted_to:
            pass
        elif _ends(tag):
            if not thinks:
                kept = []
            thinks, place = False, tag.end()
        elif not thinks:
            kept.append(text[place : tag.start()])
            thinks = True
    return "".join(kept) + ("" if thinks else text[place:])


def _ends(tag: re.Match[str]) -> bool:
    return bool(tag["end"] or tag["square_end"])
