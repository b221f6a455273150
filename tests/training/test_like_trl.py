"""What TRL's SFTTrainer logs and trains, OTRTrainer with SFT does too: the two side by side."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PromptEncoderConfig, PromptTuningConfig, get_peft_model
from trl.trainer.sft_trainer import SFTTrainer

from otr import OTR, SFT, OTRTrainer, objective_loss_func, runs, with_fused_head
from otr.training import pipeline
from otr.training.config import Run
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

_TIMES = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "eval_runtime",
    "eval_samples_per_second", "eval_steps_per_second")  # fmt: skip
VIRTUAL = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}


def even_rows(num_rows: int, prompt: int = 4) -> Dataset:
    """Rows of 12 tokens, as many of them supervised in each, so that a mean of TRL's over batches
    is a mean over tokens."""
    rows = []
    for start in range(num_rows):
        ids = [(5 * start + 7 * place) % 120 for place in range(12)]
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return Dataset.from_list(rows)


def own(kind: type[SFTTrainer]) -> dict[str, Any]:
    """What only our trainer takes."""
    return {"objective": SFT()} if kind is OTRTrainer else {}


def trained(kind: type[SFTTrainer], of: Any, folder: Path, **settings: Any) -> Any:
    trainer = kind(
        model=of,
        args=arguments(folder, **settings),
        train_dataset=even_rows(64),
        eval_dataset=even_rows(16),
        processing_class=tokenizer(),
        **own(kind),
    )
    trainer.train()
    return trainer


def assert_logs_what_trl_logs(ours: Any, theirs: Any) -> None:
    """Line by line, every figure of TRL's, the times apart."""
    assert len(ours.state.log_history) == len(theirs.state.log_history)
    for mine, other in zip(ours.state.log_history, theirs.state.log_history, strict=True):
        figures = {name: value for name, value in other.items() if name not in _TIMES}
        assert {name: mine.get(name) for name in figures} == pytest.approx(figures, rel=1e-5)


def test_the_closing_line_has_the_figures_of_the_steps_after_the_last_line(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_steps": 5, "logging_steps": 3}
    ours = trained(OTRTrainer, model("mixtral"), tmp_path, **settings)
    theirs = trained(SFTTrainer, model("mixtral"), tmp_path, **settings)
    assert_logs_what_trl_logs(ours, theirs)
    last = theirs.state.log_history[-1]
    assert {"entropy", "mean_token_accuracy", "num_tokens", "aux_loss"} <= last.keys()
    assert last["num_tokens"] == 5 * 8 * 12
    assert {"nll", "hit_rate", "reward", "target_weight"} <= ours.state.log_history[-1].keys()


def test_evaluations_log_what_trl_s_do_with_the_router_s_loss_and_the_tokens_so_far(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {
        "max_steps": 6, "logging_steps": 3, "eval_strategy": "steps", "eval_steps": 2,
        "per_device_eval_batch_size": 16, "router_aux_loss_coef": 0.7,
    }  # fmt: skip
    ours = trained(OTRTrainer, model("mixtral"), tmp_path, **settings)
    theirs = trained(SFTTrainer, model("mixtral"), tmp_path, **settings)
    assert_logs_what_trl_logs(ours, theirs)
    evaluations = [row for row in ours.state.log_history if "eval_loss" in row]
    assert [row["eval_num_tokens"] for row in evaluations] == [192, 384, 576]
    for row in evaluations:
        assert row["eval_loss"] == pytest.approx(row["eval_nll"] + 0.7 * row["eval_aux_loss"])


def test_an_evaluation_at_the_end_a_prediction_and_lines_of_others_lose_no_figure(
    tmp_path: Path,
) -> None:
    trainer = OTRTrainer(
        model=model(),
        args=arguments(tmp_path, max_steps=5, logging_steps=3, eval_strategy="steps", eval_steps=5),
        train_dataset=even_rows(64),
        eval_dataset=even_rows(16),
        processing_class=tokenizer(),
        objective=SFT(),
    )
    usual = trainer.training_step

    def step_and_log(*args: Any, **kwargs: Any) -> Any:
        loss = usual(*args, **kwargs)
        trainer.log({"of_somebody_else": 1.0})
        return loss

    trainer.training_step = step_and_log  # type: ignore[method-assign]
    trainer.train()
    first = next(row for row in trainer.state.log_history if "loss" in row)
    assert first["num_tokens"] == 3 * 8 * 12 and "nll" in first
    assert {"train_loss", "nll", "num_tokens"} <= trainer.state.log_history[-1].keys()
    alone = trainer.evaluate()
    trainer.predict(even_rows(40, prompt=1))  # type: ignore[arg-type]
    assert trainer.evaluate()["eval_nll"] == alone["eval_nll"]


@pytest.mark.parametrize("config", [PromptTuningConfig, PromptEncoderConfig])
def test_virtual_tokens_predict_the_first_token_as_in_trl(config: Any, tmp_path: Path) -> None:
    made = []
    for kind, rate in ((OTRTrainer, 12 / 11), (SFTTrainer, 1.0)):
        torch.manual_seed(4)
        options: dict[str, Any] = VIRTUAL | (
            {"encoder_hidden_size": 8} if config is PromptEncoderConfig else {}
        )
        of = get_peft_model(model(), config(**options))
        trainer = kind(
            model=of,
            args=arguments(
                tmp_path, max_steps=2, optim="sgd", learning_rate=0.5 * rate, max_grad_norm=0.0
            ),
            train_dataset=even_rows(64, prompt=0),
            eval_dataset=even_rows(8, prompt=0),
            processing_class=tokenizer(),
            **own(kind),
        )
        before = trainer.evaluate()
        trainer.train()
        assert trainer.model is not None
        weights = {k: v for k, v in trainer.model.named_parameters() if v.requires_grad}
        made.append((before, trainer.state.log_history, weights))
    (before, lines, weights), (their_before, their_lines, their_weights) = made
    for name in ("eval_loss", "eval_entropy", "eval_mean_token_accuracy", "eval_num_tokens"):
        assert before[name] == pytest.approx(their_before[name], rel=1e-5)
    for mine, other in zip(lines[:2], their_lines[:2], strict=True):
        # TRL divides by the 11 tokens of each row that are not its first, of which it sums 12.
        assert mine["loss"] == pytest.approx(other["loss"] * 11 / 12, rel=1e-5)
        assert mine["loss"] == pytest.approx(mine["nll"], rel=1e-5)
        assert mine["entropy"] == pytest.approx(other["entropy"], rel=1e-5)
        assert mine["mean_token_accuracy"] == pytest.approx(other["mean_token_accuracy"], rel=1e-5)
    for name, value in their_weights.items():
        assert (weights[name] - value).norm() < 1e-5 * value.norm(), name


@pytest.mark.parametrize("normalization", ["token", "sequence"])
def test_with_virtual_tokens_the_split_of_a_batch_does_not_matter(
    normalization: str, tmp_path: Path
) -> None:
    weights = []
    for split in (1, 4):
        torch.manual_seed(4)
        trainer = OTRTrainer(
            model=get_peft_model(model(), PromptTuningConfig(**VIRTUAL)),
            args=arguments(
                tmp_path, max_steps=2, per_device_train_batch_size=8 // split,
                gradient_accumulation_steps=split, optim="sgd", learning_rate=0.5,
            ),
            train_dataset=dataset().map(lambda row: {"labels": row["input_ids"]}),
            processing_class=tokenizer(),
            objective=OTR(num_rollouts=32),
            normalization=normalization,
        )  # fmt: skip
        trainer.train()
        assert trainer.model is not None
        weights.append([v for v in trainer.model.parameters() if v.requires_grad])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("coefficient", [0.0, 0.07])
def test_a_router_s_coefficient_set_on_the_model_is_followed(
    coefficient: float, tmp_path: Path
) -> None:
    rows = {name: torch.tensor(values) for name, values in even_rows(4)[:4].items()}

    def changed() -> Any:
        of = model("mixtral").train()
        of.router_aux_loss_coef = coefficient  # type: ignore[assignment]
        return of

    expected = changed()(**rows).loss
    fused = with_fused_head(model("mixtral"), SFT()).train()
    fused.router_aux_loss_coef = coefficient  # type: ignore[assignment]
    assert float(fused(**rows).loss) == pytest.approx(float(expected), rel=1e-5)

    of, loss = changed(), objective_loss_func(SFT())
    loss.on_init_end(arguments(tmp_path), None, None, model=of)
    outputs = of(input_ids=rows["input_ids"])
    assert float(loss(outputs, rows["labels"])) == pytest.approx(float(expected), rel=1e-5)

    for when in ("before", "after"):
        trainer = OTRTrainer(
            model=changed() if when == "before" else model("mixtral"), args=arguments(tmp_path),
            train_dataset=even_rows(8), processing_class=tokenizer(), objective=SFT(),
        )  # fmt: skip
        assert trainer.model is not None
        trainer.model.router_aux_loss_coef = coefficient  # type: ignore[assignment]
        found = trainer.compute_loss(trainer.model.train(), dict(rows))
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_a_router_s_loss_that_was_off_is_not_left_off_in_silence(tmp_path: Path) -> None:
    trainer = OTRTrainer(
        model=model("mixtral"), args=arguments(tmp_path, router_aux_loss_coef=0.0),
        train_dataset=even_rows(8), processing_class=tokenizer(), objective=SFT(),
    )  # fmt: skip
    assert trainer.model is not None and trainer.model.router_aux_loss_coef == 0.0
    trainer.model.router_aux_loss_coef = 0.1  # type: ignore[assignment]
    with pytest.raises(ValueError, match="is 0.1 now and was 0 when the trainer was made"):
        trainer.train()


def test_where_model_and_configuration_differ_a_warning_says_which_counts(tmp_path: Path) -> None:
    of = model("mixtral")
    of.config.router_aux_loss_coef = 0.25
    with pytest.warns(
        UserWarning, match="own router_aux_loss_coef is 0.5 and its configuration's 0.25"
    ):
        trainer = OTRTrainer(
            model=of, args=arguments(tmp_path), train_dataset=even_rows(8),
            processing_class=tokenizer(), objective=SFT(),
        )  # fmt: skip
    assert trainer.router_aux_loss_coef == 0.5


def test_the_metrics_of_a_run_have_a_whole_line_for_its_last_steps(tmp_path: Path) -> None:
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 8)
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "training": {"max_steps": 5, "logging_steps": 3, "per_device_train_batch_size": 2},
            "output_dir": str(tmp_path / "run"),
        }
    )
    folder = pipeline.train(run, progress=False)
    first, last = runs.read_jsonl(folder / runs.METRICS)
    assert (first["step"], last["step"]) == (3, 5)
    assert first.keys() == last.keys() and last["num_tokens"] > first["num_tokens"]
