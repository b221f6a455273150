"""Two processes do what one does."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """The same rows in a step, split over processes: same rollouts, divisor, loss and weights."""
    for num_processes, batch in ((1, 8), (2, 4)):
        folder = tmp_path / str(num_processes)
        folder.mkdir()
        words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
        subprocess.run(
            [sys.executable, *words, "-m", "tests.training.two_processes", str(folder), str(batch)],
            check=True,
            timeout=240,
            capture_output=True,
            cwd=Path(__file__).parents[2],
        )
    one, two = (
        load_file(tmp_path / "1/weights.safetensors"),
        load_file(tmp_path / "2/weights.safetensors"),
    )
    for name, value in one.items():
        assert (two[name] - value).norm() <= 1e-5 * value.norm().clamp(min=1e-9), name
    losses = [
        [float(line) for line in (tmp_path / part / "losses.txt").read_text().splitlines()]
        for part in ("1", "2")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and len(losses[0]) == 8
