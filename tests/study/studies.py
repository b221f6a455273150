"""Small studies on the embedded models, quick enough for tests."""

import json
from pathlib import Path
from typing import Any

import yaml

from otr.demo.regimes import REGIMES, write_demonstrations


def write_code_benchmark(folder: Path) -> str:
    """A question whose prompt is its own answer, whatever a model writes after it on one line."""
    row = {
        "task_id": "some/0",
        "prompt": "def one():\n    return 1\n#",
        "entry_point": "one",
        "canonical_solution": "#",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    path = folder / "programs.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return f"humaneval={path}"


def write_study(folder: Path, **changes: Any) -> Path:
    """A study file in `folder`, with the demonstrations of two seeds beside it.

    `changes` replaces whole top-level keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(2):
        write_demonstrations(REGIMES[0], seed, folder / f"seed-{seed}.jsonl")
    document = {
        "title": "a small study",
        "base": {
            "model": "demo-weak",
            "data": {
                "train": str(folder / "seed-{seed}.jsonl"),
                "prompt": "prompt",
                "completion": "completion",
                "separator": " ",
            },
            "training": {"max_steps": 3, "per_device_train_batch_size": 4},
        },
        "objectives": [{"name": "sft"}, {"name": "otr", "num_rollouts": 8}],
        "learning_rates": [1e-3],
        "seeds": [0, 1],
        "validation": {"benchmark": "demo/validation"},
        "benchmarks": {"in_domain": ["demo/in_domain"], "retention": ["demo/retention"]},
        "limit": 4,
        "output_dir": str(folder / "out"),
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(document | changes, sort_keys=False))
    return path
