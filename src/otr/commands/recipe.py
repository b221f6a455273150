"""The arguments of commands that read a run file."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from otr.errors import UserError

if TYPE_CHECKING:
    from otr.training.config import Run


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """The run file, and the settings that replace its own."""
    parser.add_argument("recipe", help="the run file, YAML")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Settings that replace a file's own."""
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="section.key=value",
        help="settings that replace the file's",
    )


def recipe_of(arguments: argparse.Namespace) -> "Run":
    """The run file with its overrides applied.

    Raises: UserError that names file, line and key.
    """
    from otr import runs
    from otr.training.config import load_run
    from otr.training.recorded import recorded_source

    if "=" in arguments.recipe and not Path(arguments.recipe).exists():
        raise UserError(
            f"{arguments.recipe}: the run file comes first, as in "
            f"`otr {arguments.command} recipe.yaml {shlex.quote(arguments.recipe)}`"
        )

    run = load_run(arguments.recipe, arguments.overrides)
    path = Path(arguments.recipe)
    if path.name != runs.CONFIG:
        return run
    # A run folder's own configuration names its data as they lay when it was trained.
    data = run.data
    for key in ("train", "validation"):
        source, replaced = getattr(data, key), ("data=", f"data.{key}=")
        if source is not None and not any(o.startswith(replaced) for o in arguments.overrides):
            found = recorded_source(path.parent, source, f"name it with data.{key}=FILE")
            data = data.model_copy(update={key: found})
    return run.model_copy(update={"data": data})
