"""However a step's rows are split over processes, and their weights: it is the same update."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.processes import launch
from tests.training import many_processes

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LOGGED = ("loss", "nll", "entropy", "mean_token_accuracy", "hit_rate", "reward", "target_weight",
    "grad_norm", "num_tokens", "learning_rate", "epoch")  # fmt: skip

EVALUATED = ("eval_loss", "eval_nll", "eval_entropy", "eval_hit_rate", "eval_mean_token_accuracy")

IN_TWO = ("ddp:untied", "ddp-2:untied", "ddp:lora", "fsdp2:untied", "fsdp2-2:untied", "fsdp2:tied",
    "fsdp2:frozen", "fsdp2:lora")  # fmt: skip

ZERO3 = ("zero3:untied", "zero3-2:untied", "zero3:tied", "zero3:frozen", "zero3:lora")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs in one process came to."""
    found = tmp_path_factory.mktemp("many")
    many_processes.write_models(found)
    alone = ["8x1:untied", "4x2:untied", "8x1:tied", "8x1:frozen", "8x1:lora"]
    many_processes.main(found, *alone)
    return found


@pytest.fixture(scope="module")
def in_two(folder: Path) -> Path:
    """And those in two processes."""
    cases = (*IN_TWO, "fsdp2:guarded", "ddp:tensor-parallel")
    launch(2, "tests.training.many_processes", str(folder), *cases)
    return folder


@pytest.fixture(scope="module")
def with_zero3(folder: Path) -> Path:
    """And those under DeepSpeed, and in one process with as many bits."""
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    alone = [f"8x1-float32:{kind}" for kind in ("untied", "tied", "frozen", "lora")]
    many_processes.main(folder, *alone)
    more = ("zero3:guarded", "zero3:resumed")
    # DeepSpeed compiles an extension; in the usual folder the lock of a killed run would be awaited.
    launch(
        2, "tests.training.many_processes", str(folder), *ZERO3, *more,
        DS_ACCELERATOR="cpu", TORCH_EXTENSIONS_DIR=str(folder / "extensions"),
    )  # fmt: skip
    return folder


def assert_same_update(folder: Path, split: str, kind: str, alone: str = "8x1") -> None:
    """Both runs made the same steps, and came to the same weights."""
    one, other = (json.loads((folder / f"{of}-{kind}.json").read_text()) for of in (alone, split))
    assert len(one["lines"]) == 6
    for part, names in (("lines", LOGGED), ("evaluation", EVALUATED)):
        assert picked(other[part], names) == pytest.approx(picked(one[part], names), rel=1e-5)
    # The rows that fill up the last step are not counted: 29 rows, then 16 of the second epoch.
    ours, theirs = (load_file(folder / f"{of}-{kind}.safetensors") for of in (alone, split))
    before = load_file(folder / ("tied" if kind == "tied" else "untied") / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        off = (weight - theirs[name]).double().norm()
        assert off <= 1e-5 * weight.double().norm(), name
        if weight.dtype == torch.float64 and name in before and kind != "lora":
            # Also 1e-5 of what was learned, which is less.
            moved = (weight - before[name]).norm()
            assert off <= 1e-5 * moved, name
            assert (moved == 0) == (kind == "frozen" and name == "lm_head.weight"), name


def picked(lines: Any, names: tuple[str, ...]) -> list[float]:
    return [
        line[name] for line in (lines if isinstance(lines, list) else [lines]) for name in names
    ]


def test_one_process_may_split_a_step(folder: Path) -> None:
    assert_same_update(folder, "4x2", "untied")


@pytest.mark.parametrize("case", IN_TWO)
def test_two_processes_make_the_update_of_one(in_two: Path, case: str) -> None:
    """With a last step that is not full, one process with few supervised tokens, and with none."""
    assert_same_update(in_two, *case.split(":"))


@pytest.mark.parametrize("case", ZERO3)
def test_zero3_makes_the_update_of_one_process(with_zero3: Path, case: str) -> None:
    assert_same_update(with_zero3, *case.split(":"), alone="8x1-float32")


def test_a_bad_step_of_a_sharded_model_is_left_out_by_all(in_two: Path) -> None:
    """The third for one process's loss, the fifth for one number in one process's shard."""
    for process in range(2):
        moved = json.loads((in_two / f"fsdp2-guarded-{process}.json").read_text())
        assert moved == [True, True, False, True, False, True]


def test_a_bad_step_is_left_out_under_zero3(with_zero3: Path) -> None:
    for process in range(2):
        moved = json.loads((with_zero3 / f"zero3-guarded-{process}.json").read_text())
        assert moved == [True, True, False, True, True, True]


def test_a_run_under_zero3_goes_on_bit_by_bit(with_zero3: Path) -> None:
    """Its files are read without running anything that they hold."""
    for process in range(2):
        assert json.loads((with_zero3 / f"zero3-resumed-{process}.json").read_text()) is True


def test_a_head_that_is_split_over_processes_is_refused(in_two: Path) -> None:
    words = (in_two / "tensor-parallel.txt").read_text()
    assert "tensor parallelism" in words and "without tp_plan" in words
