"""The folder that a program may write to, seen from outside of it."""

import itertools
import os
import sys

_BYTES_OF_A_BLOCK = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def holds_too_much(folder: str, num_mb: int, num_entries: int) -> bool:
    """Whether a folder holds more than it may, or what cannot be counted, while it is in use."""
    waiting, num_bytes, num_found = [folder], 0, 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    num_found += 1
                    if num_found > num_entries or num_bytes > num_mb << 20:
                        return True
                    try:
                        num_bytes += _BYTES_OF_A_BLOCK * entry.stat(follow_symlinks=False).st_blocks
                    except FileNotFoundError:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was there a moment ago
        except OSError:
            return True
    return num_bytes > num_mb << 20


def remove(folder: str) -> None:
    """Remove a folder, however deep it is and whatever its modes say; no link is followed.

    A folder two levels down is moved to the top, so that no path grows and nothing recurses.
    Raises: OSError.
    """
    _allow_all(folder, None)
    top = os.open(folder, _FOLDER)
    moved = os.urandom(16).hex()
    numbers = itertools.count()
    while names := os.listdir(top):
        for name in names:
            if _unlinked(name, top):
                continue
            _allow_all(name, top)
            below = os.open(name, _FOLDER, dir_fd=top)
            for inner in os.listdir(below):
                if not _unlinked(inner, below):
                    _allow_all(inner, below)
                    new = f"{moved}-{next(numbers)}"
                    os.rename(inner, new, src_dir_fd=below, dst_dir_fd=top)
            os.close(below)
            os.rmdir(name, dir_fd=top)
    os.close(top)
    os.rmdir(folder)


def _allow_all(folder: str, parent: int | None) -> None:
    # Root needs none of it, and a link would be followed.
    if os.geteuid() != 0:
        os.chmod(folder, 0o700, dir_fd=parent)


def _unlinked(name: str, parent: int) -> bool:
    """Whether it was a file or a link, and is gone now; False for a folder."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        return False
    except PermissionError:
        if sys.platform == "darwin":
            return False  # what it says of folders
        raise
    return True
