"""`otr check`: look at a run's data and settings without training."""

import argparse
import sys
import tempfile
from typing import Any

from otr.commands.recipe import add_recipe_arguments, recipe_of
from otr.terminal import wrapped

_EXAMPLE = """example:
  otr check recipe.yaml
  otr check recipe.yaml data.overlong=drop --data-only
  otr check recipe.yaml --against gsm8k=test.jsonl --against humaneval

Prints rows, tokens, lengths and what would be lost, and the first example with
what is learned marked. Then, after about 30 seconds with the model (--seconds),
optimizer steps, memory and time, and how the model sees the labels before
training. Exit status 2 if something would be silently lost; the model is not
looked at then.

--against looks for a benchmark's questions and reference answers in the
training data, and at nothing else: no model is needed, and rows are not held.
What it finds is marked PROBLEM, with exit status 0: the data can be trained on,
but scores on that benchmark say little."""

_INDENT = 11
"""Columns before the words of a line: what it is about."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    add_recipe_arguments(parser)
    parser.add_argument(
        "--data-only", action="store_true", help="leave the model's weights alone: no outlook"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="how long the model is looked at, about (30)",
    )
    parser.add_argument(
        "--against",
        action="append",
        metavar="BENCHMARK",
        help="look for this benchmark in the training data, named as for `otr eval`; repeatable",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Print the audit, and answer 2 where training would lose something."""
    from otr.quiet import quiet_libraries

    recipe = recipe_of(arguments)
    quiet_libraries()
    if arguments.against:
        from otr.evaluation.contamination import contamination
        from otr.training.texts import training_texts

        shared = contamination(arguments.against, training_texts(recipe.data))
        print("\n".join(wrapped(shared.lines(), _INDENT)))
        return 0
    from otr.training.check import check

    def show(lines: list[str]) -> None:
        print("\n".join(wrapped(lines, _INDENT)), flush=True)

    with tempfile.TemporaryDirectory(prefix="otr-check-") as folder, _LookBar(arguments) as bar:
        found = check(
            recipe,
            folder,
            with_model=not arguments.data_only,
            look_seconds=arguments.seconds,
            on_data=lambda data: show(data.data_lines(colour=sys.stdout.isatty())),
            progress=bar.show,
        )
    show([*found.model_lines(), "", found.verdict])
    return 2 if found.problems else 0


class _LookBar:
    """How many labels the model has been asked about, on stderr; gone in the end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._seconds = arguments.seconds
        self._bar: Any = None

    def __enter__(self) -> "_LookBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, num_tokens: int, num_all: int) -> None:
        from tqdm import tqdm

        from otr.terminal import bar_options

        done = min(num_tokens, num_all)
        words = f"asking the model about the labels: {done:,} of {num_all:,}"
        if self._bar is None:
            options: dict[str, Any] = bar_options("token") | {
                "bar_format": f"{{desc}} tokens, {{elapsed}} of {self._seconds:g} s"
            }
            self._bar = tqdm(desc=words, total=num_all, leave=False, **options)
        self._bar.set_description_str(words, refresh=False)
        self._bar.update(done - self._bar.n)
