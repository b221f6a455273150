"""Tokens that one process of each machine makes, and its other processes read from disk.

They wait for a file, not in a collective, so that no time-out can run out while data is tokenized. The
files lie in the temporary folder (TMPDIR) under the name of the launch, the processes' common parent,
and go when the run does.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from datasets import Dataset, load_from_disk
from pydantic import TypeAdapter

from otr import runs
from otr.errors import UserError
from otr.training.tokens import TokenReport

_TRAIN, _VALIDATION, _REPORT = "train", "validation", "report.json"
_MAKER, _REFUSED, _DONE = "maker.json", "refused.json", "done.json"
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Tokens:
    """The data of a run, tokenized."""

    train: Dataset
    validation: Dataset | None
    report: TokenReport
    """Of the training data."""


def once_a_machine(make: Callable[[], Tokens], what: str) -> Tokens:
    """What `make` returns, called by the first process of this machine alone.

    Args:
        make: reads and tokenizes; its UserError reaches every process.
        what: all that decides what it makes.
    Raises: UserError as `make` does, or if the temporary folder cannot be used; RuntimeError if the
        process that makes them is gone.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1:
        return make()
    parent = os.getppid()
    folder = Path(tempfile.gettempdir()) / _name(parent, what)
    if int(os.environ["LOCAL_RANK"]) == 0:
        _sweep(folder.parent)
        return _made(folder, make)
    return _awaited(folder, parent)


def _made(folder: Path, make: Callable[[], Tokens]) -> Tokens:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_owner(folder)
        runs.write_json(folder / _MAKER, {"process": os.getpid()})
    except OSError as error:
        raise UserError(_unusable(folder, error)) from None
    try:
        tokens = make()
    except UserError as error:
        runs.write_json(folder / _REFUSED, {"words": str(error)})
        raise
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        tokens.train.save_to_disk(folder / _TRAIN)
        if tokens.validation is not None:
            tokens.validation.save_to_disk(folder / _VALIDATION)
        runs.write_json(
            folder / _REPORT, TypeAdapter(TokenReport).dump_python(tokens.report, mode="json")
        )
        runs.write_json(folder / _DONE, {"validation": tokens.validation is not None})
    except OSError as error:
        raise UserError(_unusable(folder, error)) from None
    return tokens


def _awaited(folder: Path, parent: int) -> Tokens:
    while not (folder / _DONE).is_file():
        if (folder / _REFUSED).is_file():
            raise UserError(str(runs.read_json(folder / _REFUSED)["words"]))
        is_maker_gone = (folder / _MAKER).is_file() and not psutil.pid_exists(
            runs.read_json(folder / _MAKER)["process"]
        )
        if is_maker_gone or os.getppid() != parent:
            raise RuntimeError("the process that tokenizes the data for this machine is gone")
        time.sleep(_POLL_SECONDS)
    _check_owner(folder)
    validation = None
    if runs.read_json(folder / _DONE)["validation"]:
        validation = load_from_disk(folder / _VALIDATION)
    train = load_from_disk(folder / _TRAIN)
    assert isinstance(train, Dataset) and not isinstance(validation, dict)
    report = TypeAdapter(TokenReport).validate_python(runs.read_json(folder / _REPORT))
    return Tokens(train, validation, report)


def _prefix() -> str:
    return f"otr-tokens-{os.getuid()}-"


def _name(parent: int, what: str) -> str:
    """Of the folder of a launch: its user, parent process and when that began, and what is made.

    Processes that torchrun has started again do not find the files of those before them.
    """
    started = int(psutil.Process(parent).create_time() * 1000)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    digest = hashlib.sha256(f"{attempt} {what}".encode()).hexdigest()
    return f"{_prefix()}{parent}-{started}-{digest[:16]}"


def _sweep(folder: Path) -> None:
    """Remove what launches that were killed have left."""
    for path in folder.glob(f"{_prefix()}*"):
        try:
            parent, started = path.name.removeprefix(_prefix()).split("-")[:2]
            is_there = int(psutil.Process(int(parent)).create_time() * 1000) == int(started)
        except (psutil.Error, ValueError):
            is_there = False
        if not is_there:
            shutil.rmtree(path, ignore_errors=True)


def _check_owner(folder: Path) -> None:
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} is another user's; set TMPDIR to a folder of your own")


def _unusable(folder: Path, error: OSError) -> str:
    return (
        f"{folder}: cannot hold the tokens for this machine's processes: {error.strerror}; set "
        "TMPDIR to a folder with room"
    )
