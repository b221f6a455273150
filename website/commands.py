"""The page of commands, from their own parsers."""

import argparse
import html
import inspect
import textwrap
from collections.abc import Mapping

from otr.commands.main import main
from otr.commands.parser import COMMANDS, parser_of


def parsers() -> Mapping[str, argparse.ArgumentParser]:
    """Each command's parser, by its name."""
    return parser_of(list(COMMANDS))[1]


def commands_page() -> str:
    """Every command: what it does, how it is called, its arguments, an example."""
    parts = ["# Commands\n", _about_all()]
    for name, parser in parsers().items():
        usage = argparse.HelpFormatter(parser.prog, width=88)
        usage.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, "")
        parts.append(f"## otr {name}\n\n{parser.description}\n")
        parts.append(f"```text\n{textwrap.dedent(usage.format_help()).strip()}\n```\n")
        parts.append(_arguments(parser))
        example, _, rest = (parser.epilog or "").partition("\n\n")
        lines = textwrap.dedent(example.removeprefix("example:\n")).strip("\n")
        parts.append(f"Example:\n\n```text\n{lines}\n```\n")
        parts += [_block(block) for block in rest.split("\n\n") if block.strip()]
    return "\n".join(parts)


def _about_all() -> str:
    meaning = " ".join((inspect.getdoc(main) or "").split())
    return (
        "This page is made from the commands' own parsers.\n\n"
        f"Each answers with an exit status: {meaning.partition('exit status: ')[2]}\n"
    )


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        metavar = str(action.metavar or action.dest)
        if action.option_strings:
            value = (
                "" if action.nargs == 0 else f" {metavar if action.metavar else metavar.upper()}"
            )
            name = ", ".join(code(f"{option}{value}") for option in action.option_strings)
        else:
            name = code(str(metavar))
        rows.append(f"| {name} | {cell(action.help or '')} |")
    return "\n".join(rows) + "\n"


def _block(text: str) -> str:
    """A part of the epilog: a file shown in full where its lines are indented, else words."""
    first, _, rest = text.partition("\n")
    if rest.startswith("  "):
        return f"{first}\n\n```yaml\n{textwrap.dedent(rest)}\n```\n"
    return text + "\n"


def code(text: str) -> str:
    """Text as code in a table's cell, whatever is in it."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def cell(text: str) -> str:
    """Text for a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
