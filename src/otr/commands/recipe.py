"""The arguments of commands that read a run file."""

import argparse

from otr.training.config import Run, load_run


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """The run file, and the settings that replace its own."""
    parser.add_argument("recipe", help="the run file, YAML")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings that replace the file's"
    )


def recipe_of(arguments: argparse.Namespace) -> Run:
    """The run file with its overrides applied.

    Raises: UserError that names file, line and key.
    """
    return load_run(arguments.recipe, arguments.overrides)
