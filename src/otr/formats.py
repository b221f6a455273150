"""How numbers are written, the same in the terminal, in files and on pages."""

LEVEL = 0.05
"""Where a difference counts as told apart."""

_MINUS = "\N{MINUS SIGN}"


def points(share: float, *, signed: bool = False) -> str:
    """A share in percentage points with one decimal: `6.3`, `+6.3`, `\u22121.2`, `0.0`."""
    text = f"{abs(100 * share):.1f}"
    if text == "0.0":
        return text
    return (_MINUS if share < 0 else "+" if signed else "") + text


def p_text(p_value: float) -> str:
    """A p-value to two digits, or as many as it takes to say on which side of 0.05 it lies."""
    if p_value < 0.0001:
        return "< 0.0001"
    for digits in range(2, 15):
        text = f"{p_value:.{digits}g}"
        if (float(text) <= LEVEL) == (p_value <= LEVEL):
            return text
    return repr(p_value)


def rate_text(rate: float) -> str:
    """A learning rate: `1e-4`, `2.5e-5`."""
    mantissa, exponent = f"{rate:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def with_minus(text: str) -> str:
    """A number's text with a true minus sign."""
    return text.replace("-", _MINUS, 1) if text[:1] == "-" and text[1:2].isdigit() else text
