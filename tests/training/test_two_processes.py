"""Two processes do what one does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file


def launch(num_processes: int, program: str, *words: str) -> None:
    """Run a program of this folder in several processes."""
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={num_processes}", "-m", f"tests.training.{program}", *words),
        ],
        check=True,
        timeout=240,
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """The same rows in a step, split over processes: same rollouts, divisor, loss and weights."""
    for num_processes, batch in ((1, 8), (2, 4)):
        folder = tmp_path / str(num_processes)
        folder.mkdir()
        launch(num_processes, "two_processes", str(folder), str(batch))
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


@pytest.mark.slow
def test_a_budget_is_the_first_processs_and_all_have_its_learning_rates(tmp_path: Path) -> None:
    launch(2, "two_clocks", str(tmp_path))
    one, two = (json.loads((tmp_path / f"process-{n}.json").read_text()) for n in range(2))
    # Two seconds of the first process's quarters.
    assert one["rates"] == pytest.approx([1e-3 * (1 - step / 8) for step in range(1, 9)])
    assert two["rates"] == one["rates"]
    assert two["weights"] == one["weights"]
