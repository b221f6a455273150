"""Lists, tuples, intervals and sets in normalised texts, taken apart at their commas and brackets."""

from functools import lru_cache


@lru_cache(maxsize=100_000)
def elements(text: str) -> tuple[str, ...]:
    r"""The answers in a list or a set, each a\pm b being two."""
    if text.startswith("\\{") and _closes_last(text, 1):
        text = text[2:-2]
    parts = [part for part in split_outside(text, ",") if part]
    # `x=1,2` and `x=1,x=2` are the same.
    elements: list[str] = []
    for part in parts:
        if "\\pm" in part and part.count("\\pm") == 1:
            before, after = part.split("\\pm")
            elements += [f"{before}+{after}" if before else after, f"{before}-{after}"]
        else:
            elements.append(part)
    return tuple(elements)


@lru_cache(maxsize=100_000)
def bracketed(text: str) -> tuple[str, tuple[str, ...]] | None:
    r"""The brackets, such as `(]`, and the parts of a tuple, an interval or a set."""
    if text.startswith("\\{") and text.endswith("\\}") and _closes_last(text, 1):
        return "{}", tuple(split_outside(text[2:-2], ","))
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or not _closes_last(text, 0):
        return None
    parts = tuple(split_outside(text[1:-1], ","))
    return (text[0] + text[-1], parts) if len(parts) > 1 else None


def _closes_last(text: str, start: int) -> bool:
    """Whether the bracket at a place is closed by the last character of the text."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def split_outside(text: str, separator: str) -> list[str]:
    """The parts between separators that stand in no bracket."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0 and text.startswith(separator, place):
            parts.append(text[start:place])
            start = place = place + len(separator)
        else:
            place += 1
    return [*parts, text[start:]]
