"""OpenMP's threads sleep while they wait, if nobody has said otherwise."""

import os
import subprocess
import sys

import pytest

from otr.commands import main as commands
from otr.commands.threads import SPINNING, WAIT_POLICY, wait_asleep


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in SPINNING:
        # Set first, so that what a test sets is undone in the end.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("variable", SPINNING)
def test_what_the_user_has_said_stays(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "3")
    wait_asleep()
    assert {name: os.environ.get(name) for name in SPINNING if name in os.environ} == {
        variable: "3"
    }


def test_the_policy_is_there_before_a_command_loads_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def module_of(name: str) -> None:
        seen.append(os.environ.get(WAIT_POLICY))
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "module_of", module_of)
    commands.main(["report", "nowhere"])
    assert seen == ["PASSIVE"]


SHOWN = """
import os, sys
import otr
before = os.environ.get("OMP_WAIT_POLICY")
from otr.commands.main import main
assert "torch" not in sys.modules
os.environ["OMP_DISPLAY_ENV"] = "verbose"
main(["report", "nowhere"])
print(before)
import torch
"""


def test_openmp_follows_it_and_an_import_of_otr_sets_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "None"
    shown = done.stderr.replace(" ", "")
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("this torch has another OpenMP than GNU's")
    assert "OMP_WAIT_POLICY='PASSIVE'" in shown and "GOMP_SPINCOUNT='0'" in shown
