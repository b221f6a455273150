"""Signals are a wish to stop the first time, and obeyed at once the second."""

import signal
import subprocess
import sys

_PROGRAM = """
import os, signal
from otr.signals import noted_signals
with noted_signals() as stop:
    os.kill(os.getpid(), signal.{0})
    print(stop.is_set(), flush=True)
    os.kill(os.getpid(), signal.{0})
    print("still here", flush=True)
"""


def _ended(name: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(name)], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout.split()


def test_the_first_signal_is_noted_and_the_second_ends_the_process() -> None:
    assert _ended("SIGTERM") == (-signal.SIGTERM, ["True"])
    assert _ended("SIGINT") == (-signal.SIGINT, ["True"])
