"""llama.cpp's own converter, called on a folder of safetensors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from otr.errors import UserError

_NAMES = ("convert_hf_to_gguf.py", "convert_hf_to_gguf", "convert-hf-to-gguf")
_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}

MODEL_FILE = "model.gguf"


def find_converter(given: Path | None) -> Path:
    """The converter that is given, or else the first on PATH.

    Raises: UserError that says how to get one.
    """
    if given is not None:
        if not given.is_file():
            raise UserError(f"--converter: there is no file {str(given)!r}")
        return given
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise UserError(
            "--format gguf: llama.cpp's converter is not on PATH, and no package index has it. "
            "Fetch it with `git clone --depth 1 https://github.com/ggml-org/llama.cpp`, install "
            "what it needs with `pip install gguf`, and give --converter "
            "llama.cpp/convert_hf_to_gguf.py"
        )
    return Path(found)


def convert(converter: Path, model: Path, file: Path, dtype: str) -> None:
    """Convert a folder of safetensors to one file.

    Raises: UserError with the converter's last words if it fails.
    """
    command = [str(model), "--outfile", str(file), "--outtype", _TYPES[dtype]]
    runs_alone = converter.suffix != ".py" and os.access(converter, os.X_OK)
    start = [str(converter)] if runs_alone else [sys.executable, str(converter)]
    done = subprocess.run([*start, *command], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not file.is_file():
        words = (done.stderr or done.stdout).strip().splitlines() or ["it wrote nothing"]
        raise UserError(f"--format gguf: {converter.name} failed: {words[-1][:300]}")
