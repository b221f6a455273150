"""What users hit in other trainers and no other test here shows to be absent; see the table in
docs/reliability.md."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForCausalLM

from otr import OTR, SFT, OTRTrainer, runs
from otr.training import pipeline
from otr.training.config import Run
from tests.training.models import VOCABULARY, arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def trainer(folder: Path, *, rows: Dataset | None = None, of: Any = None, **keywords: Any) -> Any:
    chosen = {name: keywords.pop(name) for name in ("peft_config",) if name in keywords}
    return OTRTrainer(
        model=model() if of is None else of,
        args=arguments(folder, **keywords),
        train_dataset=dataset() if rows is None else rows,
        eval_dataset=dataset(6, seed=2),
        processing_class=tokenizer(),
        objective=SFT(),
        **chosen,
    )


def test_the_last_partial_step_of_an_epoch_weighs_its_tokens_as_a_whole_batch_does(
    tmp_path: Path,
) -> None:
    ends: list[list[Tensor]] = []
    # Eleven rows: a step of eight, then one of three, in micro-batches of eight or of two and one.
    for batch, accumulated in ((8, 1), (2, 4)):
        made = trainer(
            tmp_path, rows=dataset(11), max_steps=-1, num_train_epochs=1,
            per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated,
        )  # fmt: skip
        made.train()
        assert made.state.global_step == 2
        ends.append([value.detach() for value in made.model.parameters()])
    for one, other in zip(*ends, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_neither_training_nor_evaluation_makes_the_logits(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=1)
    widths: list[int] = []
    made.model.get_output_embeddings().register_forward_hook(
        lambda *words: widths.append(words[-1].shape[-1])
    )
    made.train()
    made.evaluate()
    assert len(widths) >= 2 and VOCABULARY not in widths


@pytest.mark.parametrize("of", ["nothing", "its own loss"])
def test_a_model_whose_forward_was_exchanged_does_not_train_on_another_loss(
    tmp_path: Path, of: str
) -> None:
    """Fused kernels do this: they replace the forward by one that goes past the head."""
    made = trainer(tmp_path)
    usual = made.model.forward

    def forward(*words: Any, **keywords: Any) -> Any:
        head, made.model.lm_head = made.model.lm_head, torch.nn.Identity()
        try:
            outputs = usual(*words, **keywords)
        finally:
            made.model.lm_head = head
        if of == "its own loss":
            outputs.loss = outputs.logits.mean()
        return outputs

    made.model.forward = forward
    before = [value.detach().clone() for value in made.model.parameters()]
    with pytest.raises(ValueError):
        made.train()
    after = made.model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("max_length", [1024, None])
def test_rows_without_a_label_are_refused_and_do_not_give_a_loss_of_0(
    tmp_path: Path, max_length: int | None
) -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": [-100] * 3}] * 8
    with pytest.raises(ValueError, match="no row of the train data has a label"):
        trainer(tmp_path, rows=Dataset.from_list(rows), max_length=max_length)


def test_one_row_without_a_label_is_warned_of(tmp_path: Path) -> None:
    rows = [*dataset(7), {"input_ids": [1, 2, 3], "labels": [-100] * 3}]
    with pytest.warns(UserWarning, match="1 of 8 rows of the train data have no label"):
        trainer(tmp_path, rows=Dataset.from_list(rows))


def test_a_saved_adapter_answers_as_the_trained_model_did(tmp_path: Path) -> None:
    """It is kept as it is."""
    base = model()
    base.save_pretrained(tmp_path / "base")
    of = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    adapter = LoraConfig(target_modules="all-linear", r=4, task_type="CAUSAL_LM")
    made = trainer(tmp_path / "run", of=of, peft_config=adapter, learning_rate=1e-1)
    made.train()
    made.save_model(str(tmp_path / "adapter"))
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        trained = made.model.eval()(tokens).logits
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter")(tokens).logits
        untrained = base.eval()(tokens).logits
    assert torch.allclose(trained, loaded, atol=1e-5)
    assert not torch.allclose(trained, untrained, atol=1e-2)


def test_no_collective_waits_for_a_process_that_tokenizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data is read and tokenized before processes first meet; the trainer has nothing left to
    tokenize."""
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "training": {"max_steps": 1},
            "output_dir": str(tmp_path / "run"),
        }
    )

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the others would wait")

    with monkeypatch.context() as patch:
        for name in ("wait_for_everyone", "main_process_first", "local_main_process_first"):
            patch.setattr(f"accelerate.state.PartialState.{name}", refused)
        prepared = pipeline.prepare(run)
    kind = type(prepared.tokenizer)
    for name in ("__call__", "apply_chat_template", "encode"):
        monkeypatch.setattr(kind, name, refused)
    made = pipeline.build_trainer(prepared, pipeline.loaded_model(prepared), [])
    assert made.train_dataset is not None
    assert made.train_dataset["input_ids"] == prepared.train_dataset["input_ids"]


def test_the_defaults_log_a_likelihood_for_every_objective(tmp_path: Path) -> None:
    made = OTRTrainer(
        model=model(), args=arguments(tmp_path, max_steps=1), train_dataset=dataset(),
        processing_class=tokenizer(), objective=OTR(wrong_reward=0.0),
    )  # fmt: skip
    made.train()
    (line,) = [row for row in made.state.log_history if "loss" in row]
    # Its loss is tiny; what the model has learned is seen by the likelihood beside it.
    assert abs(line["loss"]) < 0.1 * line["nll"]
