"""The words of a command line, with errors of one line that name the way out."""

import argparse
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from otr import __version__
from otr.errors import UserError, suggestion

COMMANDS = {
    "demo": "compare SFT, DFT and OTR on an embedded model, in a few minutes",
    "check": "look at a run's data and settings without training",
    "train": "fine-tune a model as a run file says",
    "eval": "score a model or a run on benchmarks",
    "compare": "compare objectives on your model and data, with error bars",
    "report": "write one HTML page from run and study folders",
    "inspect": "show what each objective makes of every token of a row",
    "export": "write a trained model as one folder, its adapter merged",
    "completion": "make a shell complete otr's words",
}
"""Each is a module of this folder with `add_arguments(parser)` and `run(arguments) -> int`."""

_MODULES = {"eval": "evaluate"}


_EPILOG = """begin with:
  otr demo --quick             # what it does, on embedded models
  otr train --help             # a run file for your own model and data

`otr COMMAND --help` shows an example of each."""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help whose words begin in one column: argparse forgets that commands are indented twice, and
    breaks the line of the longest."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)
        self._action_max_length = max(len(name) for name in COMMANDS) + 4


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors, without the usage before them."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` shows an example")


def module_of(command: str) -> ModuleType:
    """The module of a command; nothing heavy is loaded before its `run` is called."""
    return import_module(f"otr.commands.{_MODULES.get(command, command)}")


def command_of(words: Sequence[str]) -> str | None:
    """The command that is asked for, if it is one."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first if first in COMMANDS else None


def parser_of(commands: Sequence[str]) -> tuple[CommandParser, dict[str, CommandParser]]:
    """The parser, and those of all commands. Only `commands` get their arguments, so that no other
    command's module is loaded."""
    parser = CommandParser(
        prog="otr",
        description="Fine-tune language models with One-Token Rollout.",
        epilog=_EPILOG,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"otr {__version__}")
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    each = {
        name: choices.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=_HelpFormatter,
        )
        for name, summary in COMMANDS.items()
    }
    for name in commands:
        module_of(name).add_arguments(each[name])
    return parser, each


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """What the words of a command line ask for.

    Raises: UserError for a command, an option or a value that there is not, and for what is missing.
        SystemExit after `--help` and `--version`.
    """
    command = command_of(words)
    parser, each = parser_of([command] if command else [])
    if command is None:
        _refuse_first(words)
        return parser.parse_args(words)
    arguments, left = parser.parse_known_args(words)
    if _takes_overrides(each[command]):
        # argparse gives up on overrides after the first option that follows the file.
        arguments.overrides += [word for word in left if not word.startswith("-")]
        left = [word for word in left if word.startswith("-")]
    if left:
        _refuse_left(left[0], each[command])
    return arguments


def _takes_overrides(parser: CommandParser) -> bool:
    """Whether settings follow the command's file; those of `otr inspect` follow --set."""
    return any(each.dest == "overrides" and not each.option_strings for each in parser._actions)


def _refuse_first(words: Sequence[str]) -> None:
    """Raise for a first word that is no command; nothing for those that --help has."""
    first = next((word for word in words if not word.startswith("-")), None)
    if first is None:
        options = ["-h", "--help", "--version"]
        wrong = next((word for word in words if word not in options), None)
        if wrong is not None and not {"-h", "--help"} & set(words):
            raise UserError(f"no option {wrong}{suggestion(wrong, options)}")
        return
    if Path(first).is_file():
        raise UserError(
            f"{first} is a file; name what to do with it, for example "
            f"`otr train {shlex.quote(first)}`"
        )
    raise UserError(
        f"no command {first!r}{suggestion(first, COMMANDS)}; known are {', '.join(COMMANDS)}"
    )


def _refuse_left(word: str, parser: CommandParser) -> NoReturn:
    """Raise for a word that the command does not know."""
    if not word.startswith("-"):
        raise UserError(f"one word too many: {word!r}; `{parser.prog} --help` shows an example")
    option = word.partition("=")[0]
    known = [name for action in parser._actions for name in action.option_strings]
    found = suggestion(option, known)
    if not found and _takes_overrides(parser):
        found = "; settings are written without dashes, as in training.learning_rate=1e-5"
    raise UserError(f"no option {option}{found}; `{parser.prog} --help` lists them")
