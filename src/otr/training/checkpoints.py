"""Checkpoints that cannot be half: written aside, hashed, flushed to disk, renamed.

A folder `checkpoint-N` is there whole or not at all. Its manifest.json has the size and SHA-256 of
every file in it; what does not match it is never read.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from otr import runs
from otr.errors import UserError

MANIFEST = "manifest.json"
ASIDE = ".part"
"""Where the next checkpoint is written; what is left in it belongs to a save that never ended."""

_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Found:
    """What a folder of checkpoints has to go on with."""

    newest: Path | None
    """The newest one that is as its manifest says."""

    broken: tuple[str, ...]
    """Newer ones that are not, and why; a line each."""


def checkpoint_name(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"checkpoint-{step}"


def seal(aside: Path, final: Path) -> None:
    """Make what was written in `aside` the checkpoint `final`."""
    files = {
        str(path.relative_to(aside)): {
            "bytes": path.stat().st_size,
            "sha256": runs.file_sha256(path),
        }
        for path in _files(aside)
    }
    runs.write_json(aside / MANIFEST, {"files": files})
    runs.flush_all(aside)
    if final.exists():
        remove(final)
    os.replace(aside, final)
    runs.flush(final.parent)


def find(folder: Path) -> Found:
    """The newest whole checkpoint of a folder."""
    broken = []
    for path in reversed(_checkpoints(folder)):
        reason = why_broken(path)
        if reason is None:
            return Found(path, tuple(broken))
        broken.append(f"{path.name}: {reason}")
    return Found(None, tuple(broken))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint by its name; what is in it is not looked at."""
    return next(reversed(_checkpoints(folder)), None)


def why_broken(path: Path) -> str | None:
    """What differs from the manifest; None if nothing does."""
    for each in (path, *sorted(path.rglob("*"))):
        # What a link leads to could be changed once it has been looked at.
        if each.is_symlink():
            return f"{each.relative_to(path.parent)} is a link"
    try:
        files = runs.read_json(path / MANIFEST)["files"]
        promised = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except UserError:
        return f"{MANIFEST} is missing or broken"
    except (KeyError, TypeError, AttributeError):
        return f"{MANIFEST} lists no files"
    there = {str(file.relative_to(path)) for file in _files(path)} - {MANIFEST}
    for name in sorted(there ^ promised.keys()):
        return f"{name} is missing" if name in promised else f"{name} is not in its {MANIFEST}"
    for name, (size, digest) in promised.items():
        found = (path / name).stat().st_size
        if found != size:
            return f"{name} has {found} bytes instead of {size}"
        if runs.file_sha256(path / name) != digest:
            return f"{name} does not have the contents that were saved"
    return None


def keep_newest(folder: Path, number: int | None, best: str | None) -> None:
    """Remove all but the newest checkpoints and the best one; all stay without a number."""
    if not number or number < 0:
        return
    for path in _checkpoints(folder)[:-number]:
        if best is None or Path(best).name != path.name:
            remove(path)


def remove(path: Path) -> None:
    """Remove a checkpoint; at no moment is there half of one under its name."""
    going = path.with_name(f".{path.name}.removed")
    shutil.rmtree(going, ignore_errors=True)
    os.replace(path, going)
    shutil.rmtree(going, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what saves and removals that never ended have left."""
    for path in (folder / ASIDE, *folder.glob(".checkpoint-*.removed")):
        shutil.rmtree(path, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    numbered = [
        (int(match[1]), path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(numbered)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if not path.is_dir())
