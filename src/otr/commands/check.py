"""`otr check`: look at a run's data and settings without training."""

import argparse
import sys
import tempfile

from otr.commands.recipe import add_recipe_arguments, recipe_of

_EXAMPLE = """example:
  otr check recipe.yaml
  otr check recipe.yaml data.overlong=drop --data-only

Prints rows, tokens, lengths and what would be lost; the first example with what is learned
marked; optimizer steps and memory; and how the model sees the labels before training.
Exit status 2 if something would be silently lost."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    add_recipe_arguments(parser)
    parser.add_argument(
        "--data-only", action="store_true", help="leave the model's weights alone: no outlook"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the audit, and answer 2 where training would lose something."""
    from otr.quiet import quiet_libraries

    recipe = recipe_of(arguments)
    quiet_libraries()
    from otr.training.check import check

    with tempfile.TemporaryDirectory(prefix="otr-check-") as folder:
        found = check(recipe, folder, with_model=not arguments.data_only)
    print("\n".join(found.lines(colour=sys.stdout.isatty())))
    return 2 if found.problems else 0
