"""`otr check`: look at a run's data and settings without training."""

import argparse
import sys
import tempfile

from otr.commands.recipe import add_recipe_arguments, recipe_of

_EXAMPLE = """example:
  otr check recipe.yaml
  otr check recipe.yaml data.overlong=drop --data-only
  otr check recipe.yaml --against gsm8k=test.jsonl --against humaneval

Prints rows, tokens, lengths and what would be lost; the first example with what is learned
marked; optimizer steps and memory; and how the model sees the labels before training.
Exit status 2 if something would be silently lost.

--against looks for a benchmark's questions and reference answers in the training data, and at
nothing else: no model is needed, and rows are not held. What it finds is marked PROBLEM, with exit
status 0: the data can be trained on, but scores on that benchmark say little."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    add_recipe_arguments(parser)
    parser.add_argument(
        "--data-only", action="store_true", help="leave the model's weights alone: no outlook"
    )
    parser.add_argument(
        "--against",
        action="append",
        metavar="BENCHMARK",
        help="look for this benchmark in the training data, named as for `otr eval`; repeatable",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the audit, and answer 2 where training would lose something."""
    from otr.quiet import quiet_libraries

    recipe = recipe_of(arguments)
    quiet_libraries()
    if arguments.against:
        from otr.evaluation.contamination import contamination
        from otr.training.texts import training_texts

        shared = contamination(arguments.against, training_texts(recipe.data))
        print("\n".join(shared.lines()))
        return 0
    from otr.training.check import check

    with tempfile.TemporaryDirectory(prefix="otr-check-") as folder:
        found = check(recipe, folder, with_model=not arguments.data_only)
    print("\n".join(found.lines(colour=sys.stdout.isatty())))
    return 2 if found.problems else 0
