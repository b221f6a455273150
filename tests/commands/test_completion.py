"""What shells complete, asked of the shells themselves at a terminal, and what they are offered."""

import dataclasses
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig

from otr.commands import words
from otr.commands.main import main
from otr.evaluation.benchmark_file import catalogue
from otr.evaluation.benchmarks import load_benchmarks
from otr.objectives import ALL

TYPED = {
    "otr tr\tr.yaml": "train r.yaml",
    "otr train r.yaml training.learning_ra\t1": "train r.yaml training.learning_rate=1",
    "otr train r.yaml objective.name=lab\t": "train r.yaml objective.name=label-smoothing",
    "otr eval demo --benchm\tgsm\t": "eval demo --benchmark gsm8k",
    "otr compare s.yaml base.training.max_st\t2": "compare s.yaml base.training.max_steps=2",
}
"""Keys, and the words that otr is called with once they are completed."""

STARTS = {
    "bash": ("--rcfile", "{script}", "-i"),
    "zsh": ("-f", "-i"),
    "fish": ("--no-config", "-i", "-C", "source {script}"),
}
AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
BEFORE = {"zsh": "autoload -U compinit; compinit -u -D; source {script}"}
PATIENCE_SECONDS = 120
"""Only so that a shell that hangs ends the test."""


def an_otr(folder: Path) -> Path:
    """An `otr` that completes as it does, and otherwise writes down what it is called with."""
    command = folder / "bin/otr"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nif [ -n "$_ARGCOMPLETE" ]; then exec {sys.executable} -m otr "$@"; fi\n'
        f'echo "$*" >> {folder}/calls\n'
    )
    command.chmod(0o755)
    return command


def wait_for(calls: Path, count: int) -> list[str]:
    """The calls, once there are so many."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        lines = calls.read_text().splitlines() if calls.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"the shell called otr {lines}, not {count} times")


@pytest.mark.parametrize("shell", STARTS)
def test_a_shell_completes_commands_options_benchmarks_and_settings(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    command = an_otr(tmp_path)
    us, them = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            AT_TERMINAL,
            shell,
            *(word.format(script=script) for word in STARTS[shell]),
        ],
        stdin=them,
        stdout=them,
        stderr=them,
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "TERM": "dumb",
        },
        start_new_session=True,
    )
    os.close(them)
    shown = drained(us)
    try:
        keys = [BEFORE.get(shell, "true").format(script=script), "otr ready"]
        os.write(us, "".join(f"{line}\n" for line in keys).encode())
        wait_for(tmp_path / "calls", 1)
        for number, line in enumerate(TYPED, start=2):
            os.write(us, f"{line}\n".encode())
            wait_for(tmp_path / "calls", number)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{shown}") from None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (tmp_path / "calls").read_text().splitlines() == ["ready", *TYPED.values()]


def drained(terminal: int) -> list[str]:
    """What a terminal shows, read as it comes: a shell whose output nobody reads stands still."""
    shown: list[str] = []

    def read() -> None:
        try:
            while data := os.read(terminal, 4096):
                shown.append(data.decode(errors="replace"))
        except OSError:
            pass
        os.close(terminal)

    threading.Thread(target=read, daemon=True).start()
    return shown


def test_the_training_settings_offered_are_the_fields_of_trl_s_config() -> None:
    fields = {field.name for field in dataclasses.fields(SFTConfig) if field.init}
    # TRL adds none of those that are for its own use.
    assert set(words.training_settings()) >= {name for name in fields if name[0] != "_"}
    assert set(words.training_settings()) - fields == set()


def test_the_lora_settings_offered_are_peft_s() -> None:
    offered = {key for key in words.run_settings() if key.startswith("lora.")}
    fields = {f"lora.{field.name}=" for field in dataclasses.fields(LoraConfig)}
    assert {"lora.r=", "lora.target_modules="} < offered <= fields


def test_the_objectives_and_options_offered_are_ours() -> None:
    assert sorted(words.objective_names()) == sorted(kind.name for kind in ALL)
    options = {field.name for kind in ALL for field in dataclasses.fields(kind)}
    assert set(words.objective_options()) == options


def test_the_benchmarks_offered_are_those_that_are_known() -> None:
    names = words.benchmark_names()
    parts = {benchmark.name for benchmark in load_benchmarks(["demo"], limit=1)}
    assert set(names) == {"demo", *parts, *catalogue()}


def test_settings_are_offered_a_section_at_a_time() -> None:
    offer = words.Settings(words.run_settings)
    assert {"model=", "data.", "objective.", "training."} < set(offer(prefix=""))
    assert {"data.train=", "data.prompt="} < set(offer(prefix="da"))
    assert offer(prefix="training.max_st") == ["training.max_steps="]
    assert "objective.name=otr" in offer(prefix="objective.name=")


def test_to_complete_loads_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, otr.commands.words as words\n"
        "words.run_settings(), words.study_settings(), words.benchmark_names()\n"
        "print([name for name in ('torch', 'transformers', 'trl', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == "[]\n"
