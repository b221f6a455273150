"""Short answers compared as texts: BIG-Bench Extra Hard's rule, and plain equality."""

import re

_PREFIXES = ("The answer is:", "The final answer is ", "The final answer is: ", "The answer is ")
_WRAPPERS = ("boxed{", "text{", "texttt{")


def bbeh_answer(text: str) -> str | None:
    r"""What follows the last of the authors' phrases ("The answer is:" and three like it), without
    dollar signs, \boxed, bold marks and a full stop, in lower case, its first line.

    Source: the authors' bbeh/evaluate.py, github.com/google-deepmind/bbeh.
    """
    answer = text.strip()
    for prefix in _PREFIXES:
        if prefix in answer:
            answer = answer.rpartition(prefix)[2].strip()
    answer = answer.removesuffix(".")
    if len(answer) > 1 and answer.startswith("$") and answer.endswith("$"):
        answer = answer[1:-1]
    for wrapper in _WRAPPERS:
        if wrapper in answer and answer.endswith("}"):
            answer = answer[:-1].split(wrapper)[1]
    answer = answer.lower().replace(", ", ",").replace("**", "").split("\n")[0].removesuffix(".")
    return answer or None


def bbeh_reference(text: str) -> str | None:
    """A reference as the authors prepare it: in lower case, no blanks after commas."""
    return text.strip().lower().replace(", ", ",") or None


def same_in_bbeh(answer: str, reference: str) -> bool:
    """Equal as the authors have it: as texts, as numbers, or but for brackets around a letter,
    square brackets around the whole, apostrophes, or a question mark at the end.
    """
    if answer == reference:
        return True
    for one, other in ((answer, reference), (reference, answer)):
        if re.fullmatch(r"\(.\)", one, re.DOTALL):
            return one[1] == other
    try:
        if float(answer) == float(reference):
            return True
    except ValueError:
        pass
    return (
        answer.replace("'", "") == reference.replace("'", "")
        or answer in (f"[{reference}]", f"{reference}?")
        or reference == f"[{answer}]"
    )


def plain_answer(text: str) -> str | None:
    """What follows the last "answer is" or "answer:" on its line, or the last line that is not
    empty; in lower case, single blanks, without a full stop and quotes."""
    stated = re.split(r"answer\s*(?:is\b|:)\s*:?", text, flags=re.IGNORECASE)
    lines = [line for line in stated[-1].splitlines() if line.strip()]
    if not lines:
        return None
    line = lines[0] if len(stated) > 1 else lines[-1]
    return " ".join(line.strip(" .*\"'`").lower().split()) or None
