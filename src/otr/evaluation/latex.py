r"""One way to write a LaTeX formula out of many: `\dfrac12` and `\frac{1}{2}` become equal."""

import re
from functools import lru_cache

from otr.evaluation.bases import with_base_below
from otr.evaluation.matrices import ROW_END, with_row_ends

_DROPPED = re.compile(
    r"\\(?:left|right|big[lr]?|Big[lr]?|bigg[lr]?|Bigg[lr]?|displaystyle|limits)(?![A-Za-z])\.?"
    r"|\\[,;:! ]|\\(?:quad|qquad|hspace\{[^{}]*\})(?![A-Za-z])|~|\{,\}|\\\$|\$|[\u200b\u20ac\u00a3\u00a5\u20b9]"
    r"|\\(?:texteuro|euro|pounds|textsterling|yen)(?![A-Za-z])(?:\{\})?"
    r"|\^\{?\\circ\}?|\\degree(?:s)?(?![A-Za-z])|\u00b0"
)
_SAME = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:le|leq|leqslant)(?![A-Za-z])|\u2264|<="), r"\\le "),
    (re.compile(r"\\(?:ge|geq|geqslant)(?![A-Za-z])|\u2265|>="), r"\\ge "),
    (re.compile(r"\\neq(?![A-Za-z])|\u2260"), r"\\ne "),
    (re.compile(r"\\(?:lbrace)(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace)(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\(?:lbrack)(?![A-Za-z])"), "["),
    (re.compile(r"\\(?:rbrack)(?![A-Za-z])"), "]"),
    (
        re.compile(
            r"\\infin(?:ity|ty)?(?![A-Za-z])|\u221e|(?<![A-Za-z\\])(?:inf|infinity|oo)(?![A-Za-z])"
        ),
        r"\\infty ",
    ),
    (re.compile(r"\u222a|(?<=[)\]}])\s*(?:U|or)\s*(?=[(\[\\])"), r"\\cup "),
    (re.compile(r"\\(?:varnothing|emptyset)(?![A-Za-z])|\u2205"), r"\\emptyset "),
    (re.compile(r"\u03c0|(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"\u221a\s*\(([^()]*)\)|(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1\2}"),
    (re.compile(r"\u221a\s*(\d+)"), r"\\sqrt{\1}"),
    (re.compile("[\u2212\u2013]"), "-"),
    (re.compile("\u2208"), r"\\in "),
    (re.compile("\u00d7"), r"\\times "),
    (re.compile("\u00b7"), r"\\cdot "),
    (re.compile("\u00b1"), r"\\pm "),
    (re.compile("\u00b2"), "^2"),
    (re.compile("\u00b3"), "^3"),
    (re.compile(r"\*\*(?=[\d({a-z])"), "^"),
    (re.compile(r"\*"), r"\\cdot "),
    (re.compile(r"\\%|\u066a|(?<=\d)\s*percent(?![A-Za-z])"), "%"),
    (re.compile(r"\\?(?<![A-Za-z])a(sin|cos|tan)(?![A-Za-z])"), r"\\arc\1 "),
    (re.compile(r"\\(?:exp|ln|log|sin|cos|tan|arcsin|arccos|arctan)(?![A-Za-z])"), r"\g<0> "),
    (
        re.compile(
            r"(?<![A-Za-z\\])(?:np\.|math\.)?(arcsin|arccos|arctan|sin|cos|tan|ln|log|exp)(?=[ ({\\\d])"
        ),
        r"\\\1 ",
    ),
)
_AND = re.compile(
    r"\s*(?:,\s*)?(?:\\(?:text|mathrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*"
)
_TEXT = r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname|rm|mathit|texttt|boldsymbol)\s*"
_UNIT_AT_END = re.compile(
    r"(?<=[\d})%.!\w])(?:\s*(?:/|\\cdot|\\times|per)?\s*"
    + _TEXT
    + r"\{[^{}]*\}(?:\s*\^\s*(?:\{\s*-?\d+\s*\}|-?\d))?)+\s*$"
)
_WORDS_AT_END = re.compile(
    r"^([-+]?\$?[\d.,/]*\d)(?:\s+|-)(?!and |or )[A-Za-z]{2}[A-Za-z .]*(?:\^\{?\d\}?)?$"
)
_CURRENCY = re.compile(
    r"^(-?)(?:\\(?:text|mathrm)\s*\{\s*)?(?:US|USD|EUR|GBP|JPY|INR|Rs)\.?\s*\}?[\s~]*(?=\\?[$\u20ac\u00a3]?\s*-?\d)"
)
_UNWRAPPED = re.compile(_TEXT + r"\{\s*([^{}]*?)\s*\}")
_NAME_OF_TEXT = re.compile(_TEXT + r"(?![A-Za-z{])")
_BARE_ARGUMENT = re.compile(r"\\(frac|sqrt)(?![A-Za-z])\s*((?:\[[^\]]*\])?)\s*")
_SEPARATED = re.compile(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])")


@lru_cache(maxsize=100_000)
def normalized(text: str) -> str:
    """An answer in one way of writing: no spacing, no sizes of brackets, no units, no currency, no
    degree signs, one name for each symbol, braces around every argument.
    """
    text = with_row_ends(text)
    text = text.strip().removeprefix("\\(").removesuffix("\\)")
    text = text.removeprefix("\\[").removesuffix("\\]").strip().rstrip(".,;: ")
    text = with_base_below(_CURRENCY.sub(r"\1", text))
    if (inner := re.fullmatch(_TEXT + r"\{([^{}]*)\}", text)) is not None:
        text = inner.group(1)
    text = _WORDS_AT_END.sub(r"\1", _without_units(text.replace("\n", " ").strip("$ ")))
    text = _DROPPED.sub(lambda found: "" if found.group() != "~" else " ", text)
    text = _AND.sub(",", text).strip().strip(",")
    text = _without_units(text)
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    text = _NAME_OF_TEXT.sub("", _UNWRAPPED.sub(r"\1", text))
    text = _with_braces(text)
    text = _SEPARATED.sub(r"\1" + "\0", text)
    text = re.sub(r"\s+", "", text).replace("\0", " ")
    text = re.sub(r"([_^])\{([A-Za-z0-9])\}", r"\1\2", text)
    text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
    return text.rstrip(".,;:").replace(ROW_END, "\\\\")


def _without_units(text: str) -> str:
    shorter = _UNIT_AT_END.sub("", text).strip()
    return shorter or text


def _with_braces(text: str) -> str:
    r"""`\frac12` as `\frac{1}{2}`, `\sqrt3` as `\sqrt{3}`."""
    place = 0
    while found := _BARE_ARGUMENT.search(text, place):
        arguments, end = [], found.end()
        for _ in range(2 if found.group(1) == "frac" else 1):
            argument, end = _argument(text, end)
            arguments.append(argument)
        written = f"\\{found.group(1)}{found.group(2)}" + "".join(f"{{{a}}}" for a in arguments)
        text = text[: found.start()] + written + text[end:]
        # What stands inside the first argument is looked at next.
        place = found.start() + len(found.group(1)) + 1
    return text


def _argument(text: str, start: int) -> tuple[str, int]:
    while start < len(text) and text[start] == " ":
        start += 1
    if start >= len(text):
        return "", start
    if text[start] == "\\":
        command = re.compile(r"\\(?:[A-Za-z]+|.)").match(text, start)
        end = command.end() if command else start + 1
        return text[start:end], end
    if text[start] != "{":
        return text[start], start + 1
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + 1 : place], place + 1
    return text[start + 1 :], len(text)
