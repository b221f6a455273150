"""What answers depend on, as digests: a model's files, and a benchmark's questions."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from otr import runs
from otr.evaluation.benchmarks import Benchmark
from otr.pretrained import model_location

_MODEL_FILES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken"}
_ADAPTER = "adapter_config.json"


def model_digest(name: str) -> str:
    """SHA-256 of a model's weights, configuration and tokenizer; for a hub id, its commit.

    An adapter's takes in its base model's.
    """
    location = model_location(name)
    folder = Path(location)
    if not folder.is_dir():
        return str(getattr(AutoConfig.from_pretrained(location), "_commit_hash", None) or name)
    whole = hashlib.sha256()
    ours = (runs.SCORES, runs.ANSWERS)
    for path in sorted(folder.iterdir()):
        if path.suffix in _MODEL_FILES and path.name not in ours and path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.name} {digest}\n".encode())
    if (folder / _ADAPTER).is_file():
        base = runs.read_json(folder / _ADAPTER).get("base_model_name_or_path")
        if isinstance(base, str):
            whole.update(model_digest(base).encode())
    return whole.hexdigest()[:16]


def benchmark_digest(benchmark: Benchmark) -> str:
    """SHA-256 of a benchmark's questions, references and rules."""
    return digest(asdict(benchmark))


def digest(value: Any) -> str:
    """SHA-256 of a value that JSON can write, shortened."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
