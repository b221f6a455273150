"""GRPO as a baseline: what it is given, that it learns from the rewards, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.errors import UserError
from otr.evaluation import grade
from otr.training.config import Run
from otr.training.grpo import prepare_grpo, train_grpo

# TRL asks the model by a name that transformers gives up.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ROWS = [
    {"prompt": f"repeat : {a} {b} =", "completion": f"{a} {b} so ans {a} {b} ."}
    for a, b in ("ab", "bc", "cd", "de", "ef", "fg", "gh", "hi")
]


def run_in(folder: Path, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> Run:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {
        "model": "demo-weak",
        "data": {
            "train": str(path), "prompt": "prompt", "completion": "completion", "separator": " ",
        },
        "objective": {"name": "grpo", "num_generations": 4},
        "training": {
            "max_steps": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
            "save_strategy": "no",
        },
        "samples": {"every_steps": 0},
        "output_dir": str(folder / "run"),
    }  # fmt: skip
    return Run.model_validate(document | changes)


def is_demo_answer(output: str, reference: str) -> bool:
    return grade(output, reference, "demo")


def names_a(output: str, reference: str) -> bool:
    return "a" in output.split()


def test_prompts_and_references_are_the_datas_and_settings_reach_trl(tmp_path: Path) -> None:
    objective = {"name": "grpo", "num_generations": 2, "reward": "demo", "max_seconds": 3}
    ready = prepare_grpo(run_in(tmp_path, objective=objective), is_demo_answer)
    tokenizer: Any = ready.prepared.tokenizer
    train: list[Any] = list(ready.prepared.train_dataset)
    dataset: list[Any] = list(ready.dataset)
    assert len(dataset) == len(ROWS)
    for given, row, example in zip(ROWS, dataset, train, strict=True):
        assert grade(row["reference"], given["completion"], "demo")
        ids = tokenizer(row["prompt"])["input_ids"]
        assert example["input_ids"][: len(ids)] == ids
        assert example["labels"][: len(ids)] == [-100] * len(ids)
        assert example["labels"][len(ids)] != -100
    arguments = ready.arguments
    assert (arguments.num_generations, arguments.per_device_train_batch_size) == (2, 8)
    assert (arguments.max_steps, arguments.learning_rate) == (2, 1e-3)
    longest = max(sum(label != -100 for label in row["labels"]) for row in train)
    assert arguments.max_completion_length == longest


@pytest.mark.slow
def test_it_learns_what_the_verifier_rewards_and_fills_a_run_folder(tmp_path: Path) -> None:
    training = {"max_steps": 30, "per_device_train_batch_size": 32, "learning_rate": 2e-3}
    run = run_in(tmp_path, training=training | {"save_strategy": "no"})
    folder = train_grpo(run, names_a, progress=False)
    metrics = list(runs.read_jsonl(folder / runs.METRICS))
    rewards = [row["reward"] for row in metrics]
    assert len(rewards) == 30
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3
    for name in (runs.ENVIRONMENT, runs.AUDIT, runs.COST):
        assert runs.read_json(folder / name)
    cost = runs.read_json(folder / runs.COST)
    assert cost["num_steps"] == 30 and cost["num_tokens"] > 0 and cost["head_share"] is None
    assert (folder / runs.MODEL / "model.safetensors").is_file()
    with pytest.raises(UserError, match="already holds a run"):
        train_grpo(run, names_a, progress=False)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_without_a_model(tmp_path: Path) -> None:
    training = {"max_steps": 10, "per_device_train_batch_size": 8, "learning_rate": 1e30}
    with pytest.raises((FloatingPointError, RuntimeError)):
        train_grpo(run_in(tmp_path, training=training), names_a, progress=False)
    assert not (tmp_path / "run" / runs.MODEL).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": {"name": "grpo", "num_generation": 4}}, ["did you mean 'num_generations'"]),
        ({"objective": {"name": "grpo", "num_generations": 3}}, ["grpo", "3"]),
        ({"objective": {"name": "grpo", "beta": "much"}}, ["grpo.beta", "'much'"]),
        ({"objective": {"name": "grpo", "seed": 4}}, ["grpo.seed"]),
        (
            {"rows": [{"prompt": "repeat : a =", "completion": "no words"}]},
            ["holds no answer", "no words"],
        ),
        ({"data": {"text": "completion"}}, ["no prompt to answer"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    run = run_in(tmp_path, changes.get("rows", ROWS))
    if "data" in changes:
        data = {"train": run.data.train, **changes["data"]}
        run = Run.model_validate(run.model_dump() | {"data": data})
    if "objective" in changes:
        run = run.model_copy(update={"objective": changes["objective"]})
    with pytest.raises(UserError) as caught:
        train_grpo(run, is_demo_answer, progress=False)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()
