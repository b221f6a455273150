"""Two processes stop, save and keep time together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from reliability.ends import differing, end_of


def launch(num_processes: int, program: str, *words: str, **variables: str) -> None:
    """Run a program of this folder in several processes, with environment variables."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={num_processes}", "-m", f"tests.training.{program}", *words),
        ],
        timeout=400,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.slow
def test_a_budget_is_the_first_processs_and_all_have_its_learning_rates(tmp_path: Path) -> None:
    launch(2, "two_clocks", str(tmp_path))
    one, two = (json.loads((tmp_path / f"process-{n}.json").read_text()) for n in range(2))
    # Two seconds of the first process's quarters.
    assert one["rates"] == pytest.approx([1e-3 * (1 - step / 8) for step in range(1, 9)])
    assert two["rates"] == one["rates"]
    assert two["weights"] == one["weights"]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_both_and_they_go_on_bit_by_bit(
    tmp_path: Path,
) -> None:
    write_demonstrations(REGIMES[0], 0, tmp_path / "rows.jsonl")
    run = {
        "model": "demo-weak",
        "data": data_section(tmp_path / "rows.jsonl") | {"limit": 40},
        "objective": {"name": "otr", "num_rollouts": 16},
        "training": {
            "max_steps": 8, "save_steps": 8, "per_device_train_batch_size": 4,
            "learning_rate": 1e-3, "logging_steps": 3, "ddp_backend": "gloo",
        },
        "samples": {"every_steps": 4, "max_new_tokens": 4},
        "output_dir": "-",
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run))
    launch(2, "two_resumed", str(tmp_path), "whole", "0")
    launch(2, "two_resumed", str(tmp_path), "broken", "4")
    for rank in range(2):
        assert "goes on from" in (tmp_path / f"broken-{rank}.txt").read_text()
    launch(2, "two_resumed", str(tmp_path), "broken", "0")
    assert (tmp_path / "broken-0.txt").read_text() == "finished"
    ends = [end_of(tmp_path / name, 8) for name in ("whole", "broken")]
    assert differing(*ends) == []
