"""`otr`: parse, call, print."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from otr import __version__
from otr.errors import ProcessLost, UserError
from otr.redaction import redacted
from otr.signals import EXIT_STOPPED, Stopped
from otr.terminal import visible

COMMANDS = {
    "demo": "compare SFT, DFT and OTR on an embedded model, in a few minutes",
    "compare": "compare objectives on your model and data, with error bars",
    "report": "write one HTML page from run and study folders",
    "check": "look at a run's data and settings without training",
    "train": "fine-tune a model as a run file says",
    "eval": "score a model or a run on benchmarks",
    "inspect": "show what each objective makes of every token of a row",
    "export": "write a trained model as one folder, its adapter merged",
}
"""Each is a module of this folder with `add_arguments(parser)` and `run(arguments) -> int`."""

_MODULES = {"eval": "evaluate"}

_FAILED, _USER_ERROR, _INTERRUPTED, _READER_GONE = 1, 2, 130, 141


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 a run that failed, 2 something the
    user must change, 75 stopped by a signal, to go on with the same command."""
    words = sys.argv[1:] if words is None else list(words)
    parser = argparse.ArgumentParser(
        prog="otr",
        description="Fine-tune language models with One-Token Rollout.",
        epilog="`otr COMMAND --help` shows an example of each.",
    )
    parser.add_argument("--version", action="version", version=f"otr {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # Only the chosen command's module is imported: `otr --help` stays quick.
        if name == chosen:
            _module(name).add_arguments(command)
    arguments = parser.parse_args(words)
    try:
        status = _module(arguments.command).run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        _say(arguments.command, str(error))
        return _USER_ERROR
    except (FloatingPointError, ProcessLost) as error:
        _say(arguments.command, str(error))
        return _FAILED
    except Stopped as stopped:
        _say(arguments.command, str(stopped))
        return EXIT_STOPPED
    except BrokenPipeError:
        # `| head` has read enough. The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    except KeyboardInterrupt:
        _say(arguments.command, "interrupted")
        return _INTERRUPTED


def _say(command: str, message: str) -> None:
    """Print a message that may quote the user's data, which must not steer the terminal, and the
    user's settings, which may hold a secret."""
    lines = [visible(line) for line in redacted(f"otr {command}: {message}").split("\n")]
    print("\n".join(lines), file=sys.stderr)


def _module(name: str):
    return import_module(f"otr.commands.{_MODULES.get(name, name)}")


if __name__ == "__main__":
    sys.exit(main())
