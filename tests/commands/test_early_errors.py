"""Mistakes that need no library to be seen are said before any is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

WRONG = {
    "train r.yaml data.train=rowz.jsonl": "did you mean 'rows.jsonl'",
    "check r.yaml data.prompt=qestion": "'qestion'",
    "train r.yaml objective.name=orr": "did you mean 'otr'",
    "check r.yaml objective.num_rollouts=-1": "num_rollouts must be",
    "eval demo --benchmark gsm9k": "did you mean 'gsm8k'",
    "eval demo --benchmark gsm8k=": "say where gsm8k lies",
}

LOADED = """
import sys
from otr.commands.main import main
status = main(sys.argv[1:])
print(status, [name for name in ("transformers", "trl", "datasets", "peft") if name in sys.modules])
"""


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_said_before_anything_heavy_is_loaded(words: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    (tmp_path / "r.yaml").write_text(
        "model: demo\ndata: {train: rows.jsonl, prompt: question, completion: answer}\n"
        "output_dir: runs/first\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words.split()],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "2 []"
    assert WRONG[words] in done.stderr and len(done.stderr.splitlines()) <= 2
