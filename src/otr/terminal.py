"""Text from data and models, made safe to show."""


def visible(text: str) -> str:
    r"""Text in which control, format and other unprintable characters are escapes like \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
