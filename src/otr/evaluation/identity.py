"""What answers depend on, as digests: a model's files, and a benchmark's questions."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from otr import runs
from otr.evaluation.benchmarks import Benchmark
from otr.pretrained import adapter_base, model_location

_MODEL_FILES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken"}


def model_digest(name: str) -> str:
    """SHA-256 of a model's weights, configuration and tokenizer; for a hub id, its commit.

    An adapter's takes in its base model's.
    """
    folder = Path(model_location(name))
    if not folder.is_dir():
        return str(getattr(model_config(name), "_commit_hash", None) or name)
    whole = hashlib.sha256()
    ours = (runs.SCORES, runs.ANSWERS)
    for path in sorted(folder.iterdir()):
        if path.suffix in _MODEL_FILES and path.name not in ours and path.is_file():
            whole.update(f"{path.name} {runs.file_sha256(path)}\n".encode())
    if (base := adapter_base(str(folder))) is not None:
        whole.update(model_digest(base).encode())
    return whole.hexdigest()[:16]


def model_config(name: str) -> PreTrainedConfig | None:
    """A model's configuration, for an adapter that of its base model; None where it is not known
    before the model is loaded."""
    location = model_location(name)
    base = adapter_base(location)
    if base is not None and not (Path(location) / "config.json").is_file():
        return model_config(base)
    try:
        return AutoConfig.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def benchmark_digest(benchmark: Benchmark) -> str:
    """SHA-256 of a benchmark's questions, references and rules."""
    return digest(asdict(benchmark))


def digest(value: Any) -> str:
    """SHA-256 of a value that JSON can write, shortened."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
