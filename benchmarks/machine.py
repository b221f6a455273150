"""What a result was measured on and with: nothing that names a person, a host or a folder."""

import platform
import re
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "otr",
    "torch",
    "transformers",
    "trl",
    "triton",
    "liger-kernel",
    "cut-cross-entropy",
)


def machine(device: str, threads: int) -> dict[str, Any]:
    """The device, its threads, the versions of what is compared, and the day."""
    return {
        "device": device_name(device),
        "kind": device,
        "threads": threads if device == "cpu" else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "date": date.today().isoformat(),
    }


def device_name(device: str) -> str:
    """The model of the accelerator or processor."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
