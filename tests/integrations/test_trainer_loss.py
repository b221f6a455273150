"""An objective as the loss function of a plain trainer, against OTRTrainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, set_seed
from trl.trainer.sft_trainer import SFTTrainer

from otr import DFT, OTR, SFT, OTRTrainer, objective_loss_func
from otr.integrations.trainer_loss import FollowTrainer, ObjectiveMixin
from otr.objectives import Anchor, Objective
from tests.integrations.test_fused_model import assert_same_runs, plain_arguments
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

_DTYPES = {"gemma2": torch.float64, "mixtral": torch.float32, "llama": torch.float64}
"""In float64 no draw lies on a boundary; the experts' products know no such type."""


def ours(folder: Path, objective: Objective, kind: str, **settings: Any) -> OTRTrainer:
    return OTRTrainer(
        model=model(kind, dtype=_DTYPES[kind]),
        args=arguments(folder, **settings),
        train_dataset=dataset(),
        eval_dataset=dataset(6, seed=2),
        processing_class=tokenizer(),
        objective=objective,
    )


@pytest.mark.parametrize(
    ("objective", "kind", "steps"),
    [
        (OTR(num_rollouts=32, sft_until=0.75), "gemma2", 4),
        (DFT(), "mixtral", 1),
    ],
    ids=["otr-accumulated", "dft-router"],
)
def test_a_plain_trainer_makes_the_updates_of_ours(
    tmp_path: Path, objective: Objective, kind: str, steps: int
) -> None:
    settings: dict[str, Any] = {
        "max_steps": 3,
        "per_device_train_batch_size": 8 // steps,
        "gradient_accumulation_steps": steps,
    }
    reference = ours(tmp_path, objective, kind, **settings)
    reference.train()
    loss = objective_loss_func(objective)
    plain = Trainer(
        model=model(kind, dtype=_DTYPES[kind]),
        args=plain_arguments(tmp_path, **settings),
        train_dataset=dataset(),
        eval_dataset=dataset(6, seed=2),
        data_collator=reference.data_collator,
        compute_loss_func=loss,
        callbacks=[loss],
    )
    plain.train()
    assert_same_runs(reference, plain, kind)
    if kind == "gemma2":
        # One batch, so that a mean over batches is a mean over tokens; its rollouts are those of
        # every evaluation.
        found = [each.evaluate()["eval_loss"] for each in (reference, plain, plain)]
        assert found[1] == found[2] == pytest.approx(found[0], rel=1e-4)


def test_trls_own_trainer_takes_it_too_with_an_adapter(tmp_path: Path) -> None:
    runs = []
    loss = objective_loss_func(OTR(num_rollouts=32))
    keywords: dict[type[SFTTrainer], dict[str, Any]] = {
        OTRTrainer: {"objective": OTR(num_rollouts=32)},
        SFTTrainer: {"compute_loss_func": loss, "callbacks": [loss]},
    }
    for kind, own in keywords.items():
        torch.manual_seed(2)
        trainer = kind(
            model=get_peft_model(model(), LoraConfig(r=4, target_modules="all-linear")),
            args=arguments(tmp_path, max_steps=3),
            train_dataset=dataset(),
            processing_class=tokenizer(),
            **own,
        )
        trainer.train()
        assert trainer.model is not None
        runs.append({k: v for k, v in trainer.model.named_parameters() if v.requires_grad})
    for name, value in runs[0].items():
        assert (runs[1][name] - value).norm() < 1e-5 * value.norm(), name


def test_the_model_of_each_training_is_followed_where_the_trainer_makes_it(tmp_path: Path) -> None:
    """As a search for hyperparameters does it, with other settings each time."""
    objective, collator = OTR(num_rollouts=32), ours(tmp_path, SFT(), "llama").data_collator
    settings: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 8}

    def trainer(seed: int, loss: Any, **keywords: Any) -> Trainer:
        return Trainer(
            args=plain_arguments(tmp_path, **settings, seed=seed),
            train_dataset=dataset(),
            eval_dataset=dataset(6, seed=2),
            data_collator=collator,
            compute_loss_func=loss,
            callbacks=[loss],
            **keywords,
        )

    def make() -> Any:
        # The order of the rows follows from the random numbers that come next.
        with torch.random.fork_rng():
            return model()

    searching = trainer(3, objective_loss_func(objective), model_init=make)
    for seed in (3, 5):
        searching.args.seed = seed
        searching.train()
        fixed = trainer(seed, objective_loss_func(objective), model=make())
        set_seed(seed)
        fixed.train()
        assert searching.state.log_history[0]["loss"] == fixed.state.log_history[0]["loss"]
        assert searching.model is not None and fixed.model is not None
        weights = fixed.model.state_dict()
        for name, value in searching.model.state_dict().items():
            assert torch.equal(value, weights[name]), name
        assert searching.evaluate()["eval_loss"] == fixed.evaluate()["eval_loss"]


@pytest.mark.parametrize("base", [Trainer, SFTTrainer])
def test_a_mixin_makes_the_updates_without_compute_loss_func(
    base: type[Trainer], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "max_steps": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    objective = OTR(num_rollouts=32, sft_until=0.5)
    reference = ours(tmp_path, objective, "llama", **settings)
    reference.train()

    class ObjectiveTrainer(ObjectiveMixin, base): ...  # type: ignore[misc, valid-type]

    own: dict[str, Any] = {"data_collator": reference.data_collator}
    if base is SFTTrainer:
        own = {"processing_class": tokenizer()}
    make = plain_arguments if base is Trainer else arguments
    trainer = ObjectiveTrainer(
        model=model(dtype=torch.float64),
        args=make(tmp_path, **settings),
        train_dataset=dataset(),
        objective=objective,
        **own,
    )
    trainer.train()
    assert_same_runs(reference, trainer, "llama")
    assert trainer.objective_loss.last is not None


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an anchor needs hidden states"):
        objective_loss_func(SFT(anchor=Anchor()))
    with pytest.raises(ValueError, match="objective must be one of otr's"):
        objective_loss_func("otr")  # type: ignore[arg-type]
    reference = ours(tmp_path, SFT(), "llama", max_steps=1)
    keywords: dict[str, Any] = {
        "model": model(),
        "args": plain_arguments(tmp_path, max_steps=1),
        "train_dataset": dataset(),
        "data_collator": reference.data_collator,
    }
    with pytest.raises(ValueError, match="it is a callback too"):
        Trainer(**keywords, compute_loss_func=objective_loss_func()).train()
    with pytest.raises(ValueError, match="has 0 fused heads"):
        Trainer(**keywords, callbacks=[FollowTrainer()]).train()
    keywords["args"]._n_gpu = 2
    refused = "one process sees 2 GPUs.*torchrun --nproc-per-node 2"
    with pytest.raises(ValueError, match=refused):
        Trainer(**keywords, compute_loss_func=(loss := objective_loss_func()), callbacks=[loss])
    with pytest.raises(ValueError, match=refused):
        Trainer(**keywords, callbacks=[FollowTrainer()]).train()
