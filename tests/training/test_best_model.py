"""The best model of a run is the one whose metric is best, whichever way that is."""

from pathlib import Path

import pytest

from otr import runs
from otr.commands.main import main
from otr.training.config import Run
from otr.training.settings import sft_config
from otr.training.trainer import OTRTrainer

from .models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"add {a} and 1 :", "completion": f"ans {a + 1} ."} for a in range(2, 9)]
    runs.write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(
        "model: demo-weak\n"
        "data: {train: rows.jsonl, validation: rows.jsonl, separator: ' '}\n"
        "training: {max_steps: 6, eval_strategy: steps, eval_steps: 2, save_steps: 2,\n"
        "  learning_rate: 1e-3, metric_for_best_model: eval_nll}\n"
        "samples: {every_steps: 0}\n"
        "output_dir: run\n"
    )
    return "recipe.yaml"


def run_with(**training: object) -> Run:
    data = {"train": "rows.jsonl", "validation": "rows.jsonl"}
    return Run.model_validate(
        {"model": "demo", "data": data, "output_dir": "run", "training": training}
    )


@pytest.mark.parametrize(
    "setting", ["training.load_best_model_at_end=true", "training.save_strategy=best"]
)
def test_the_checkpoint_with_the_lowest_nll_is_the_best(
    recipe: str, tmp_path: Path, setting: str
) -> None:
    assert main(["train", recipe, setting]) == 0
    lines = runs.read_jsonl(tmp_path / "run/metrics.jsonl")
    nll = {line["step"]: line["eval_nll"] for line in lines if "eval_nll" in line}
    best = min(nll, key=lambda step: nll[step])
    # Learning begins at the first step, so that the first evaluation is not the best.
    assert best > 2
    states = (tmp_path / "run/checkpoints").glob("checkpoint-*/trainer_state.json")
    newest = max((runs.read_json(path) for path in states), key=lambda state: state["global_step"])
    assert Path(newest["best_model_checkpoint"]).name == f"checkpoint-{best}"


@pytest.mark.parametrize(
    ("metric", "more"),
    [
        ("eval_nll", False), ("nll", False), ("eval_entropy", False), ("eval_loss", False),
        ("eval_hit_rate", True), ("mean_token_accuracy", True), ("eval_rollout_reward", True),
    ],
)  # fmt: skip
def test_best_and_schedule_follow_a_metric_the_same_way(metric: str, more: bool) -> None:
    for schedule in ("reduce_lr_on_plateau", "greedy"):
        arguments = sft_config(
            run_with(metric_for_best_model=metric, lr_scheduler_type=schedule, use_cpu=True)
        )
        assert arguments.greater_is_better is more
        assert arguments.lr_scheduler_kwargs == {"mode": "max" if more else "min"}


def test_what_the_file_says_of_a_metric_is_kept() -> None:
    arguments = sft_config(
        run_with(metric_for_best_model="eval_entropy", greater_is_better=True, use_cpu=True)
    )
    assert arguments.greater_is_better is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.metric_for_best_model=eval_nnl"], "did you mean 'eval_nll'?"),
        (["training.metric_for_best_model=foo"], "there is no metric 'foo'"),
        (["data.validation=null", "training.eval_strategy=no"], "give data.validation"),
    ],
)
@pytest.mark.parametrize("command", ["train", "check"])
def test_a_metric_that_the_run_does_not_measure_is_refused_before_anything_is_written(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    command: str, settings: list[str], message: str,
) -> None:  # fmt: skip
    assert main([command, recipe, *settings]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_metric_that_this_model_turns_out_not_to_have_is_named(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe, "training.metric_for_best_model=eval_aux_loss"]) == 2
    assert "this run logs no 'eval_aux_loss', only" in capsys.readouterr().err


def test_the_trainer_refuses_to_keep_the_model_with_the_highest_nll(tmp_path: Path) -> None:
    options = arguments(tmp_path, metric_for_best_model="eval_nll")
    with pytest.raises(ValueError, match="highest eval_nll; set it to False"):
        OTRTrainer(model(), args=options, train_dataset=dataset(), processing_class=tokenizer())


def test_the_trainer_follows_a_metric_of_one_of_several_validation_sets(tmp_path: Path) -> None:
    options = arguments(
        tmp_path, max_steps=1, eval_strategy="steps", eval_steps=1,
        metric_for_best_model="eval_a_nll", greater_is_better=False,
    )  # fmt: skip
    trainer = OTRTrainer(
        model(), args=options, train_dataset=dataset(8), processing_class=tokenizer(),
        eval_dataset={"a": dataset(4), "b": dataset(8)},
    )  # fmt: skip
    trainer.train()
    measured = next(line for line in trainer.state.log_history if "eval_a_nll" in line)
    assert trainer.state.best_metric == measured["eval_a_nll"]
