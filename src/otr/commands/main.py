"""`otr`: parse, call, print."""

import os
import sys
from collections.abc import Sequence

from otr.commands.parser import command_of, module_of, parsed, parser_of
from otr.commands.threads import wait_asleep
from otr.errors import ProcessLost, UserError
from otr.redaction import redacted
from otr.signals import EXIT_STOPPED, Stopped
from otr.terminal import visible

_FAILED, _USER_ERROR, _INTERRUPTED, _READER_GONE = 1, 2, 130, 141


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 a run that failed, 2 something the
    user must change, 75 stopped by a signal, to go on with the same command."""
    if "_ARGCOMPLETE" in os.environ:
        from otr.commands.words import complete

        complete()
    words = sys.argv[1:] if words is None else list(words)
    if not words:
        parser_of([])[0].print_help(sys.stderr)
        return _USER_ERROR
    command = command_of(words)
    wait_asleep()
    try:
        arguments = parsed(words)
        status = module_of(arguments.command).run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        _say(command, str(error))
        return _USER_ERROR
    except (FloatingPointError, ProcessLost) as error:
        _say(command, str(error))
        return _FAILED
    except Stopped as stopped:
        _say(command, str(stopped))
        return EXIT_STOPPED
    except BrokenPipeError:
        # `| head` has read enough. The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    except KeyboardInterrupt:
        _say(command, "interrupted")
        return _INTERRUPTED


def _say(command: str | None, message: str) -> None:
    """Print a message that may quote the user's data, which must not steer the terminal, and the
    user's settings, which may hold a secret."""
    prefix = f"otr {command}" if command else "otr"
    lines = [visible(line) for line in redacted(f"{prefix}: {message}").split("\n")]
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
