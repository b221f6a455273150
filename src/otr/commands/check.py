"""`otr check`: look at a run's data and settings without training."""

import argparse
import sys
import tempfile

_EXAMPLE = """example:
  otr check recipe.yaml
  otr check recipe.yaml data.overlong=drop --data-only

Prints rows, tokens, lengths and what would be lost; the first example with what is learned
marked; optimizer steps and memory; and how the model sees the labels before training.
Exit status 2 if something would be silently lost."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("recipe", help="the run file, YAML")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings that replace the file's"
    )
    parser.add_argument(
        "--data-only", action="store_true", help="leave the model's weights alone: no outlook"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the audit, and answer 2 where training would lose something."""
    from otr.commands.quiet import quiet_libraries
    from otr.training.config import load_run

    recipe = load_run(arguments.recipe, arguments.overrides)
    quiet_libraries()
    from otr.training.check import check

    with tempfile.TemporaryDirectory(prefix="otr-check-") as folder:
        found = check(recipe, folder, with_model=not arguments.data_only)
    print("\n".join(found.lines(colour=sys.stdout.isatty())))
    return 2 if found.problems else 0
