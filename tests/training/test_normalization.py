"""The mean over tokens, or over sequences: against full logits, and however a step is split."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from otr import OTRTrainer, runs
from otr.commands.main import main
from otr.objectives import OTR, SFT
from otr.training.sequences import num_sequences, sequence_weights
from tests.processes import launch

from .models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def made(folder: Path, objective: Any = None, rows: int = 64, **changes: Any) -> OTRTrainer:
    return OTRTrainer(
        model=model("llama").double(),
        args=arguments(folder, **changes),
        train_dataset=dataset(rows),
        eval_dataset=dataset(24, seed=5),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=16) if objective is None else objective,
        normalization="sequence",
    )


def test_packed_documents_are_sequences_and_those_without_labels_are_none() -> None:
    labels = torch.tensor([[-100, 1, 2, 9, -100, 3, -100, -100], [7, -100, -100, 4, 5, 6, 1, -100]])
    # Documents of 3, 3 and 2 tokens, and of 3 and 5; the third has nothing to learn.
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 1, 2, 3, 4]])
    inputs = {"labels": labels, "position_ids": positions}
    # The position before a label learns it; a document's first label is learned at the last
    # position of the one before, which only a collator that masks it takes away.
    labels[0, 3] = labels[1, 3] = -100
    assert num_sequences(inputs) == 3
    expected = [[0.5, 0.5, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0]]
    torch.testing.assert_close(sequence_weights(inputs), torch.tensor(expected))
    alone = {"labels": labels}
    assert num_sequences(alone) == 2
    assert sequence_weights(alone).sum(1).tolist() == pytest.approx([1, 1])


def test_the_loss_is_the_mean_of_the_sequences_means(tmp_path: Path) -> None:
    trainer = made(tmp_path, SFT())
    batch = next(iter(trainer.get_train_dataloader()))
    of = trainer.model
    assert of is not None
    of.train()
    loss = trainer.compute_loss(of, dict(batch), num_items_in_batch=torch.tensor(8))
    loss.backward()
    found = {name: value.grad.clone() for name, value in of.named_parameters()}  # type: ignore[union-attr]

    of.zero_grad()
    logits = of(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    means = [
        torch.nn.functional.cross_entropy(row[:-1], labels[1:])
        for row, labels in zip(logits, batch["labels"], strict=True)
    ]
    expected = torch.stack(means).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for name, value in of.named_parameters():
        torch.testing.assert_close(found[name], value.grad)


def weights_after(folder: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], bool]:
    """The weights after three steps, and whether this is the first process."""
    trainer = made(folder, max_steps=3, learning_rate=1e-2, **changes)
    trainer.train()
    inner = trainer.accelerator.unwrap_model(trainer.model)
    weights = {name: value.detach().clone() for name, value in inner.named_parameters()}  # type: ignore[union-attr]
    return weights, trainer.is_world_process_zero()


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    # The model's norms are float32, whose rounding goes with the padding.
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-5 * value.norm(), name


def test_eight_rows_at_once_train_as_four_twice_do(tmp_path: Path) -> None:
    whole, _ = weights_after(tmp_path)
    split, _ = weights_after(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert_same(split, whole)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    whole, _ = weights_after(tmp_path)
    launch(2, "tests.training.two_normalized", str(tmp_path))
    assert_same(load_file(tmp_path / "weights.safetensors"), whole)


def test_a_run_file_chooses_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "add 1 and 2 :", "completion": "ans " + "3 " * n} for n in (1, 9)]
    runs.write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(
        "model: demo\n"
        "data: {train: rows.jsonl}\n"
        "objective: {name: sft}\n"
        "loss: {normalization: sequence}\n"
        "training: {max_steps: 1, per_device_train_batch_size: 2, save_strategy: 'no'}\n"
        "samples: {every_steps: 0}\n"
        "output_dir: run\n"
    )
    assert main(["train", "recipe.yaml"]) == 0
    (line,) = [line for line in runs.read_jsonl(tmp_path / "run/metrics.jsonl") if "loss" in line]
    # The short row, which the model knows less of, weighs as much as the long one.
    assert abs(line["loss"] - line["nll"]) > 0.1
    assert "normalization: sequence" in (tmp_path / "run/config.yaml").read_text()
    assert main(["train", "recipe.yaml", "loss.normalization=token", "--restart"]) == 0
    (line,) = [line for line in runs.read_jsonl(tmp_path / "run/metrics.jsonl") if "loss" in line]
    assert line["loss"] == pytest.approx(line["nll"], rel=1e-5)
    assert main(["train", "recipe.yaml", "loss.normalization=row"]) == 2


def test_the_evaluation_s_loss_is_the_same_in_any_batches(tmp_path: Path) -> None:
    def evaluated(batch: int) -> dict[str, float]:
        return made(tmp_path, SFT(), per_device_eval_batch_size=batch).evaluate()

    whole, split = evaluated(24), evaluated(7)
    assert split["eval_loss"] == pytest.approx(whole["eval_loss"], rel=1e-9)
    # The other figures stay means over tokens.
    assert abs(whole["eval_loss"] - whole["eval_nll"]) > 1e-4
    assert split["eval_nll"] == pytest.approx(whole["eval_nll"], rel=1e-9)


def test_an_unknown_normalization_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="normalization must be one of token, sequence, found 'x'"):
        OTRTrainer(model=model(), args=arguments(tmp_path), normalization="x")
