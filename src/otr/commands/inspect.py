"""`otr inspect`: what each objective makes of single tokens."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otr.errors import UserError, suggestion

if TYPE_CHECKING:
    from otr.objectives import Objective
    from otr.training.config import Run

_EXAMPLE = """example:
  otr inspect demo --data rows.jsonl --prompt question --completion answer
  otr inspect runs/first --row 0 --row 1 -o tokens.html
  otr inspect demo --data rows.jsonl --set otr.num_rollouts=64

Shows every token of a row as training sees it: its mask, its probability, which
tokens the model samples in its place, and how SFT, DFT and OTR weigh it. Rows
are counted from 0. A run folder brings its seed, its objective and its data,
which are known by their hash from any folder."""

READING = ("max_length", "eos_token", "chat_template_path")
"""What of the section `training` changes how a row is read."""

_USUAL = (
    {"name": "sft"},
    {"name": "dft"},
    {"name": "otr"},
    {"name": "otr", "num_rollouts": "exact"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("model", help="a run folder, a model folder, a hub id, or demo")
    parser.add_argument("--data", metavar="FILE", help="the rows (those of the run)")
    for kind in ("prompt", "completion", "messages", "text"):
        parser.add_argument(f"--{kind}", metavar="COLUMN", help=f"column of the {kind}")
    parser.add_argument(
        "--separator", metavar="TEXT", help="text between prompt and completion (a line break)"
    )
    parser.add_argument(
        "--row",
        type=int,
        action="append",
        metavar="N",
        help="the row, counted from 0 (0); may be repeated",
    )
    parser.add_argument(
        "--objective",
        action="append",
        metavar="NAME",
        help="sft, dft, otr, ... (sft, dft, otr, exact otr and the run's own); may be repeated",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the draws (the run's, or 0)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="extend",
        nargs="+",
        default=[],
        metavar="section.key=value",
        help="settings of data, of an objective, or of training what changes how rows are read: "
        "max_length, eos_token, chat_template_path",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="HTML", help="write a page there")


def run(arguments: argparse.Namespace) -> int:
    """Print the token view, and write it as a page where one is asked for."""
    from otr import runs
    from otr.quiet import quiet_libraries
    from otr.training.config import Data, checked, load_run
    from otr.training.overrides import read_override

    if arguments.output is not None and arguments.output.is_dir():
        raise UserError(f"-o: {arguments.output} is a folder; give a file such as tokens.html")
    own = None
    if (Path(arguments.model) / runs.CONFIG).is_file():
        own = load_run(Path(arguments.model) / runs.CONFIG)
    settings: dict[str, Any] = {"data": _data(arguments, own)}
    for override in arguments.overrides:
        read_override(override).apply(settings)
    for name, value in settings.items():
        if not isinstance(value, dict):
            raise UserError(f"--set {name}: expected {name}.key=value, found {name}={value}")
    data = checked(Data, settings.pop("data"), "--set")
    training = settings.pop("training", {})
    for name in training:
        if name not in READING:
            raise UserError(
                f"--set training.{name}: changes nothing that is shown; of training there are "
                f"{', '.join(READING)}{suggestion(name, READING)}"
            )
    objectives = _objectives(arguments.objective, own, settings)
    quiet_libraries()
    from otr.report.token_lines import lines
    from otr.report.token_view import write_tokens_page
    from otr.training.chosen_examples import max_length_of
    from otr.training.inspection import token_views

    tokens = token_views(
        arguments.model,
        data,
        arguments.row or [0],
        objectives,
        seed=arguments.seed if arguments.seed is not None else own.seed if own else 0,
        max_length=max_length_of(training, own),
        **{name: str(training[name]) for name in READING[1:] if training.get(name) is not None},
    )
    if arguments.output is not None:
        write_tokens_page(tokens, arguments.output)
    print("\n".join(lines(tokens, colour=sys.stdout.isatty())))
    if arguments.output is not None:
        print(f"\npage: {arguments.output}")
    return 0


def _data(arguments: argparse.Namespace, own: "Run | None") -> dict[str, Any]:
    """The data section: the run's, with what the arguments say in its place."""
    section: dict[str, Any] = {}
    if own is not None:
        section = own.data.model_dump(exclude_unset=True)
        if arguments.data is None and not _sets_rows(arguments.overrides):
            from otr.training.recorded import recorded_source

            folder = Path(arguments.model)
            section["train"] = recorded_source(folder, own.data.train, "give it with --data")
    elif arguments.data is None:
        raise UserError(f"--data: {arguments.model} is no run folder, so say which rows to read")
    if arguments.data is not None:
        section["train"] = arguments.data
    kinds = ("prompt", "completion", "messages", "text")
    named = {kind: getattr(arguments, kind) for kind in kinds if getattr(arguments, kind)}
    if named:
        # Columns of another kind of data do not go together with these.
        keep = {"prompt", "completion"} if {"prompt", "completion"} & set(named) else set()
        for kind in set(kinds) - keep:
            section.pop(kind, None)
    if arguments.separator is not None:
        section["separator"] = arguments.separator
    return section | named


def _sets_rows(overrides: list[str]) -> bool:
    return any(override.startswith("data.train=") for override in overrides)


def _objectives(
    names: list[str] | None, own: "Run | None", options: dict[str, Any]
) -> "list[Objective]":
    """The objectives to show, each once; `options` are sections by the objective's name.

    Raises: UserError for a name or an option that there is not.
    """
    from otr.objectives import objective_from_options

    sections = [{"name": name} for name in names] if names else list(_USUAL)
    if own is not None and not names:
        sections.append(dict(own.objective))
    given = {name.replace("_", "-"): value for name, value in options.items()}
    shown = dict.fromkeys(str(section.get("name")) for section in sections)
    for name in given:
        if name not in shown:
            raise UserError(
                f"--set {name}: neither `data`, `training` nor an objective that is shown"
                f"{suggestion(name, ['data', 'training', *shown])}; add --objective {name}"
            )
    try:
        found = [
            # What tells two objectives of one name apart stays.
            objective_from_options({**given.get(str(section.get("name")), {}), **section})
            for section in sections
        ]
    except ValueError as error:
        raise UserError(str(error)) from None
    return list(dict.fromkeys(found))
