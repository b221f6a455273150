"""One process of a machine tokenizes; the others get what it made, or why it could not."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from otr import runs
from otr.errors import UserError
from otr.rows import Row
from otr.training import shared_tokens
from otr.training.config import Data
from otr.training.shared_tokens import Tokens, once_a_machine
from otr.training.tokens import tokenized_dataset
from tests.training.models import tokenizer


@pytest.fixture(autouse=True)
def two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def made() -> Tokens:
    rows = [Row({"text": f"w{index} w2"}, f"a.jsonl, line {index}") for index in range(1, 8)]
    train, report = tokenized_dataset(rows, Data(train="a.jsonl", text="text"), tokenizer(), 16)
    return Tokens(train, train.select([0]), report)


def never() -> Tokens:
    raise AssertionError("the second process must not tokenize")


def awaited(monkeypatch: pytest.MonkeyPatch, what: str) -> list[object]:
    """Begin to wait as the second process; what comes of it is appended to the list."""
    found: list[object] = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    waits = threading.Event()
    monkeypatch.setattr(shared_tokens.time, "sleep", lambda _: waits.set())

    def wait() -> None:
        try:
            found.append(once_a_machine(never, what))
        except (UserError, RuntimeError) as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(60)
    found.append(thread)
    monkeypatch.setenv("LOCAL_RANK", "0")
    return found


def ended(found: list[object]) -> object:
    thread = found[0]
    assert isinstance(thread, threading.Thread)
    thread.join(60)
    return found[1]


def test_who_waits_gets_what_the_first_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = awaited(monkeypatch, "a run")
    ours = once_a_machine(made, "a run")
    theirs = ended(found)
    assert isinstance(theirs, Tokens) and theirs.validation is not None
    assert theirs.train.to_list() == ours.train.to_list() and len(theirs.train) == 7
    assert theirs.validation.to_list() == ours.train.to_list()[:1]
    assert theirs.report == ours.report


def test_a_refusal_reaches_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Tokens:
        raise UserError("a.jsonl, line 3: empty")

    found = awaited(monkeypatch, "a run")
    with pytest.raises(UserError, match="line 3"):
        once_a_machine(refused, "a run")
    assert str(ended(found)) == "a.jsonl, line 3: empty"


def test_a_dead_process_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    found = awaited(monkeypatch, "a run")
    folder = tmp_path / shared_tokens._name(os.getppid(), "a run")
    folder.mkdir()
    runs.write_json(folder / "maker.json", {"process": int(dead.stdout)})
    assert "is gone" in str(ended(found))


def test_processes_that_are_started_again_do_not_find_the_files_of_those_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    once_a_machine(made, "a run")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    found = awaited(monkeypatch, "a run")
    once_a_machine(made, "a run")
    assert isinstance(ended(found), Tokens)


def test_what_a_killed_launch_left_is_removed_and_a_link_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / f"{shared_tokens._prefix()}1-5-abc"
    left.mkdir()
    (tmp_path / f"{shared_tokens._prefix()}alone").mkdir()
    monkeypatch.setenv("LOCAL_RANK", "0")
    (tmp_path / "elsewhere").mkdir()
    name = shared_tokens._name(os.getppid(), "a run")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="set TMPDIR"):
        once_a_machine(made, "a run")
    assert not left.exists() and list((tmp_path / "elsewhere").iterdir()) == []
