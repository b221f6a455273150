"""The arguments of commands that read a run file."""

import argparse
import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from otr.errors import UserError

_READ_IN_AN_INSTANT = 20 * 2**20
"""Bytes of a data file."""

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
    if path.name == runs.CONFIG:
        # A run folder's own configuration names its data as they lay when it was trained.
        data = run.data
        for key in ("train", "validation"):
            source, replaced = getattr(data, key), ("data=", f"data.{key}=")
            if source is not None and not any(o.startswith(replaced) for o in arguments.overrides):
                found = recorded_source(path.parent, source, f"name it with data.{key}=FILE")
                data = data.model_copy(update={key: found})
        run = run.model_copy(update={"data": data})
    _check_early(run)
    return run


def _check_early(run: "Run") -> None:
    """Find what is wrong with data and objective before libraries are loaded for seconds: columns of
    files that are read in an instant, and paths of all.

    Raises: UserError as training would.
    """
    from otr.objectives import objective_from_options
    from otr.rows import iterated_rows, looks_like_a_path
    from otr.training.columns import columns

    source = Path(run.data.train).expanduser()
    # A hub id is not asked for before it is needed.
    if not source.exists() and looks_like_a_path(run.data.train):
        next(iterated_rows(run.data.train, **run.data.place))
    if source.is_file() and source.stat().st_size < _READ_IN_AN_INSTANT:
        rows = list(islice(iterated_rows(run.data.train, **run.data.place), run.data.limit))
        if rows:
            columns(rows, run.data)
    try:
        objective_from_options(run.objective)
    except ValueError as error:
        raise UserError(str(error)) from None
