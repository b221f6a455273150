"""What a sandbox may have left behind on this machine, and waiting for it to go."""

import time
from collections.abc import Callable
from pathlib import Path

from otr.evaluation import sandbox

SOURCE = Path(sandbox.__file__).parents[2]


def alive(text: str) -> list[str]:
    """The numbers of processes whose command line holds a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in words:
            found.append(path.parent.name)
    return found


def launchers() -> set[str]:
    """The numbers of the launchers that are running."""
    return set(alive(f"insert(0, '{Path(sandbox.__file__).parent}')"))


def wait_until(holds: Callable[[], object]) -> None:
    """Raises: AssertionError where it does not come to hold."""
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)
