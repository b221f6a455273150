"""The embedded base models and their generated tasks."""

from pathlib import Path

BASES = {"demo": "strong", "demo-strong": "strong", "demo-mid": "mid", "demo-weak": "weak"}
"""The name of each embedded model, and its folder's."""


def base_model_folder(name: str) -> Path | None:
    """The folder of an embedded base model (`demo`, `demo-mid`, `demo-weak`), or None.

    `demo` is `demo-strong`. All three share one architecture and tokenizer, and differ in how
    long they were trained.
    """
    if name not in BASES:
        return None
    return Path(__file__).parent / "bases" / BASES[name]
