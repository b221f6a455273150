"""The token view as lines of text, for a terminal."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from otr.terminal import columns, num_cells, table_lines, visible, wrapped

_MASKED, _LEARNED = "      | ", "learn | "
_PLAIN, _QUIET, _MISSED = "\033[0m", "\033[2m", "\033[48;5;52;38;5;255m"
# From dark grey to blue, under white letters.
_SHADES = tuple(f"\033[48;5;{shade};38;5;255m" for shade in (237, 17, 18, 19, 20, 21))
_MOST_ROWS = 60
_LONGEST_WORD = 18


def lines(tokens: dict[str, Any], *, colour: bool = False) -> list[str]:
    """The value of tokens.json as text: of each example its losses, its text, and a table of its
    supervised tokens, the first 60.

    With `colour` a supervised token is the bluer the more OTR (or else the last objective) weighs
    it, and dark red where none of the draws hit it.
    """
    shown: list[str] = []
    for example in tokens["examples"]:
        shown += ([""] if shown else []) + _example_lines(example, tokens["model"], colour)
    return shown


def _example_lines(example: dict[str, Any], model: str, colour: bool) -> list[str]:
    objectives, count = example["objectives"], example["num_supervised"]
    head = (
        f"row {example['row']} ({visible(example['source'])}) under {visible(model)}: {count} of "
        f"{example['num_tokens']} tokens learned"
    )
    width = max(len(objective["label"]) for objective in objectives)
    found = wrapped([head, *(f"note: {note}" for note in example["notes"])])
    for each in objectives:
        notes = f"  ({'; '.join(each['notes'])})" if each["notes"] else ""
        line = (
            f"  {each['label']:{width}}  loss {each['loss']:9.5f} = {each['sum_of_losses']:.4f} / "
        )
        found += wrapped([f"{line}{count}{notes}"])
    return [*found, "", *_text(example, colour), "", *_table(example)]


def _text(example: dict[str, Any], colour: bool) -> list[str]:
    index = _shading(example["objectives"])
    found = []
    width = columns()
    for learned, among in groupby(example["tokens"], key=lambda token: token["supervised"]):
        line, taken = "", len(_LEARNED)
        for token in among:
            word = visible(token["text"])
            taken += num_cells(word)
            if width is not None and line and taken > width:
                found.append((_LEARNED if learned else _MASKED) + line)
                line, taken = "", len(_LEARNED) + num_cells(word)
            if colour:
                style = _style(token["objectives"][index]) if learned else _QUIET
                word = f"{style}{word}{_PLAIN}"
            line += word
            if token["ends_line"]:
                found.append((_LEARNED if learned else _MASKED) + line)
                line, taken = "", len(_LEARNED)
        if line:
            found.append((_LEARNED if learned else _MASKED) + line)
    return found


def _shading(objectives: Sequence[dict[str, Any]]) -> int:
    """Which objective's weights shade the text: the first that draws, or the last."""
    drawing = [i for i, objective in enumerate(objectives) if objective["num_rollouts"]]
    return drawing[0] if drawing else len(objectives) - 1


def _style(entry: dict[str, Any]) -> str:
    if entry["hits"] == 0:
        return _MISSED
    return _SHADES[max(0, min(len(_SHADES) - 1, round((len(_SHADES) - 1) * entry["weight"])))]


def _table(example: dict[str, Any]) -> list[str]:
    objectives = example["objectives"]
    drawing = _shading(objectives)
    num_rollouts = objectives[drawing]["num_rollouts"]
    hits_head = [f"hits/{num_rollouts}"] if num_rollouts else []
    rows = [["weight on".ljust(_LONGEST_WORD), "p", *hits_head, *(o["label"] for o in objectives)]]
    learned = [token for token in example["tokens"] if token["supervised"]]
    for token in learned[:_MOST_ROWS]:
        entries = token["objectives"]
        word = visible(token["text"])
        if len(word) > _LONGEST_WORD - 2:
            word = f"{word[: _LONGEST_WORD - 3]}…"
        hits = [str(entries[drawing]["hits"])] if num_rollouts else []
        weights = (f"{entry['weight']:.3f}" for entry in entries)
        rows.append([f"[{word}]", f"{token['p']:.4f}", *hits, *weights])
    found = table_lines(rows, gap=2)
    if len(learned) > _MOST_ROWS:
        found.append(f"... {len(learned) - _MOST_ROWS} tokens more, all of them on the page of -o")
    return found
