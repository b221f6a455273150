"""What a run was made with: versions, git state, hardware, data hashes; no secrets."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from otr.redaction import redacted
from otr.runs import file_sha256

_PACKAGES = ("otr", "torch", "transformers", "trl", "accelerate", "peft", "datasets", "tokenizers")


def environment(data_sources: list[str]) -> dict[str, Any]:
    """Versions, git state, hardware, the SHA-256 of every local data file, and the folder that
    relative paths start from."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: installed_version(name) for name in _PACKAGES},
        "git": _git_state(),
        "hardware": _hardware(),
        "started_in": redacted(str(Path.cwd())),
        "data_sha256": data_sha256(data_sources),
    }


def data_sha256(data_sources: list[str]) -> dict[str, str]:
    """The SHA-256 of every local file among data sources."""
    return {
        str(path): file_sha256(path)
        for source in data_sources
        for path in _files(Path(source).expanduser())
    }


def installed_version(package: str) -> str | None:
    """Of a package; None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the folder the run was started in, and whether files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _hardware() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "num_cores": psutil.cpu_count(logical=False),
        "num_threads": torch.get_num_threads(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "accelerators": [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ],
    }


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    return [source] if source.is_file() else []
