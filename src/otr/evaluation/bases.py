r"""Numbers written in a base: `52_8`, `3F_{16}`, `101 \text{ (base 2)}`, `(52)_{\text{eight}}`."""

import re

_WORDS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
_BASES = {name: str(base) for base, name in enumerate(_WORDS.split(), start=2)}
_BASE = rf"(\d{{1,2}}|{'|'.join(_BASES)})"
_SAID = re.compile(
    rf"(?<=[0-9A-Fa-f)])[\s~]*(?:\\text\s*\{{\s*)?\(?\s*(?:in\s+)?base[\s~$]*_?\{{?{_BASE}\}}?\$?\s*\)?"
    r"\s*\}?\s*$",
    re.IGNORECASE,
)
_BELOW = re.compile(
    rf"_\s*\{{?\s*(?:\\(?:text|mathrm|textbf)\s*\{{)?\s*(?:base[\s~]*)?(?:\}}\s*)?{_BASE}\s*\}}{{0,2}}\s*$"
)
_BASED = re.compile(r"([-+]?)\(?([0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)?)\)?_(?:\{(\d\d)\}|(\d))")


def with_base_below(text: str) -> str:
    """A text with the base at its end, in whatever words, as an index."""

    def below(found: re.Match[str]) -> str:
        named = found.group(1).lower()
        return f"_{{{_BASES.get(named, named)}}}"

    return _BELOW.sub(below, _SAID.sub(below, text))


def in_base(text: str) -> tuple[str, int] | None:
    """The digits and the base of a normalised text that is a number in one, or None.

    Letters are digits as capitals, or in base 16: `2a_3` is a product.
    """
    found = _BASED.fullmatch(text)
    if found is None:
        return None
    sign, digits, *bases = found.groups()
    base = int(bases[0] or bases[1])
    if any(int(digit, 16) >= base for digit in digits.replace(".", "")):
        return None
    if base != 16 and digits != digits.upper():
        return None
    return sign.removeprefix("+") + digits.upper().lstrip("0"), base
