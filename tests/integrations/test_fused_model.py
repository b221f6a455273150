"""A model whose own loss is the objective's, against its full logits and against OTRTrainer."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from otr import OTR, SFT, OTRTrainer, logits_loss, with_fused_head, without_fused_head
from otr.integrations.trainer_loss import FollowTrainer
from otr.objectives import Anchor, Objective
from otr.training.token_keys import step_seed, token_keys
from tests.training.models import CONFIGS, arguments, dataset, model, tokenizer
from tests.training.test_model_head import bert

pytestmark = pytest.mark.filterwarnings("ignore")

LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)


def batch(padding: str = "right") -> dict[str, Tensor]:
    """Three rows of 5, 9 and 12 tokens, two or more at the front of each not supervised."""
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(0, 120, (3, 12), generator=generator)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, length in enumerate((5, 9, 12)):
        start = 0 if padding == "right" else 12 - length
        mask[row, start : start + length] = 1
        labels[row, start + 2 + row : start + length] = ids[row, start + 2 + row : start + length]
    ids[mask == 0] = 121
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def expected_loss(
    of: nn.Module, inputs: dict[str, Tensor], objective: Objective, seed: int, n: int | None = None
) -> Tensor:
    """The same by full logits and plain autograd."""
    given = {name: value for name, value in inputs.items() if name != "labels"}
    length = inputs["labels"].shape[1]
    logits = of(**given, use_cache=False).logits[:, -length:][:, :-1]
    keys = token_keys(inputs["input_ids"], inputs.get("attention_mask"))[:, :-1]
    return logits_loss(
        logits.flatten(0, 1),
        inputs["labels"][:, 1:].flatten(),
        objective,
        seed=seed,
        token_keys=keys.flatten(),
        num_tokens=n,
        backend="reference",
    ).loss


def gradients(of: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    of.zero_grad()
    loss.backward()
    return {
        name: value.grad.clone() for name, value in of.named_parameters() if value.grad is not None
    }


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(value.norm()) for value in expected.values())
    assert largest > 1e-3
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 3e-5 * max(float(value.norm()), 1e-3 * largest), name


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if "router" not in str(CONFIGS[kind])])
@pytest.mark.parametrize("padding", ["right", "left"])
def test_loss_and_gradients_are_those_of_the_full_logits(kind: str, padding: str) -> None:
    of, inputs, objective = model(kind).train(), batch(padding), OTR(num_rollouts=32)
    expected = expected_loss(of, inputs, objective, step_seed(5, 3), 20)
    expected_gradients = gradients(of, expected)
    with_fused_head(of, objective, seed=5).fused_head.step = 3  # type: ignore[union-attr]
    outputs = of(**inputs, num_items_in_batch=20)
    assert outputs.logits is None
    torch.testing.assert_close(outputs.loss, expected, rtol=1e-5, atol=1e-6)
    assert_same_gradients(gradients(of, outputs.loss), expected_gradients)
    # Another step, other rollouts.
    of.fused_head.step = 4  # type: ignore[union-attr]
    assert of(**inputs, num_items_in_batch=20).loss != outputs.loss


def test_a_routers_loss_is_added_in_proportion_to_the_tokens() -> None:
    of, inputs = model("mixtral").train(), batch()
    given = {name: value for name, value in inputs.items() if name != "labels"}
    aux_loss = of(**given).aux_loss
    num_supervised = int((inputs["labels"][:, 1:] != -100).sum())
    expected = expected_loss(of, inputs, SFT(), 0, 40) + 0.5 * num_supervised / 40 * aux_loss
    loss = with_fused_head(of, SFT())(**inputs, num_items_in_batch=40).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        loss - of(**given | {"labels": inputs["labels"]}, num_items_in_batch=80).loss,
        loss / 2,
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_loss_of_sft_is_the_models_own_and_evaluation_is_as_before() -> None:
    of, inputs = model().train(), batch()
    own = of(**inputs, num_items_in_batch=torch.tensor(17))
    before = of.eval()(**inputs)
    with_fused_head(of, SFT())
    after = of(**inputs)
    assert torch.equal(after.logits, before.logits) and torch.equal(after.loss, before.loss)
    fused = of.train()(**inputs, num_items_in_batch=torch.tensor(17))
    torch.testing.assert_close(fused.loss, own.loss, rtol=1e-5, atol=1e-6)
    # Without labels it makes logits while it trains too, as generation needs.
    assert torch.equal(of(inputs["input_ids"], inputs["attention_mask"]).logits, own.logits)
    # Positional arguments, and plain tuples as answers.
    loss = of(
        inputs["input_ids"], inputs["attention_mask"], labels=inputs["labels"], return_dict=False
    )
    assert isinstance(loss, tuple) and loss[0].ndim == 0
    # Already shifted labels are not shifted again.
    labels = inputs.pop("labels")
    shifted = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    assert of(**inputs, labels=labels, shift_labels=shifted).loss == loss[0]


def test_it_is_taken_off_without_a_trace_and_goes_on_again() -> None:
    of = model()
    before = dict(of.__dict__)
    with_fused_head(of, OTR())
    with pytest.raises(ValueError, match="has a fused head already"):
        with_fused_head(of, OTR())
    assert without_fused_head(of) is of
    assert of.__dict__.keys() == before.keys()
    assert "forward" not in of.get_output_embeddings().__dict__
    with pytest.raises(ValueError, match="LlamaForCausalLM has no fused head"):
        without_fused_head(of)
    with_fused_head(of, OTR())


def test_saving_and_loading_know_nothing_of_it(tmp_path: Path) -> None:
    of = with_fused_head(model(), OTR())
    of.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(of) and not hasattr(loaded, "fused_head")
    assert loaded.config.architectures == ["LlamaForCausalLM"]
    for name, value in of.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_copy_has_a_head_and_weights_of_its_own() -> None:
    of, inputs = with_fused_head(model().train(), OTR(num_rollouts=16)), batch()
    first = of(**inputs).loss
    copied = copy.deepcopy(of)
    assert copied.fused_head is not of.fused_head
    assert copied(**inputs).loss == first
    with torch.no_grad():
        for value in copied.parameters():
            value.mul_(1.5)
    assert copied(**inputs).loss != first
    assert of(**inputs).loss == first
    without_fused_head(copied)
    assert copied(**inputs).logits is not None and of(**inputs).logits is None


def test_gradient_checkpointing_changes_no_gradient() -> None:
    of, inputs = with_fused_head(model().train(), OTR(num_rollouts=16)), batch()
    plain = gradients(of, of(**inputs).loss)
    of.gradient_checkpointing_enable({"use_reentrant": False})
    assert_same_gradients(gradients(of, of(**inputs).loss), plain)


@pytest.mark.parametrize("order", ["before", "after"])
def test_an_adapter_goes_on_before_or_after(order: str) -> None:
    torch.manual_seed(1)
    of = get_peft_model(model(), LORA).train()
    inputs, objective = batch(), OTR(num_rollouts=16)
    expected = expected_loss(of, inputs, objective, step_seed(0, 0))
    expected_gradients = gradients(of, expected)
    patched = of if order == "after" else of.get_base_model()
    with_fused_head(patched, objective)  # type: ignore[arg-type]
    loss = of(**inputs).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert_same_gradients(gradients(of, loss), expected_gradients)


def test_prompt_tuning_has_the_loss_and_gradients_of_peft_with_each_first_token() -> None:
    of = get_peft_model(model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    inputs = batch()
    inputs["labels"] = inputs["input_ids"].where(inputs["attention_mask"] == 1, -100)
    expected = of.train()(**inputs).loss
    expected_gradients = gradients(of, expected)
    loss = with_fused_head(of, SFT())(**inputs).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert_same_gradients(gradients(of, loss), expected_gradients)
    without_fused_head(of)
    with_fused_head(of.get_base_model(), SFT())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="labels without input_ids"):
        of(**inputs)


def test_an_anchor_is_the_reference_model_or_the_adapters_base() -> None:
    objective = SFT(anchor=Anchor(kl=0.5))
    with pytest.raises(ValueError, match="an anchor needs a reference"):
        with_fused_head(model(), objective)
    torch.manual_seed(1)
    adapted = get_peft_model(model(), LORA).train()
    own = with_fused_head(adapted, objective)(**batch()).loss
    without_fused_head(adapted)
    given = with_fused_head(adapted, objective, reference_model=model())(**batch()).loss
    torch.testing.assert_close(own, given, rtol=1e-5, atol=1e-6)
    without_fused_head(adapted)
    plain = with_fused_head(adapted, SFT())(**batch()).loss
    assert own > plain + 1e-3


def test_data_parallelism_gets_the_same_gradients(tmp_path: Path) -> None:
    of, inputs = with_fused_head(model().train(), OTR(num_rollouts=16)), batch()
    plain = gradients(of, of(**inputs).loss)
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(of)
        for _ in range(2):
            found = gradients(parallel, parallel(**inputs).loss)
        with pytest.raises(ValueError, match="DistributedDataParallel is not a model of"):
            with_fused_head(parallel, OTR())
    finally:
        torch.distributed.destroy_process_group()
    assert_same_gradients({k.removeprefix("module."): v for k, v in found.items()}, plain)


def test_accelerate_wraps_it_in_mixed_precision_and_unwraps_it_whole() -> None:
    of, inputs = with_fused_head(model().train(), SFT()), batch()
    plain = of(**inputs).loss
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    prepared = accelerator.prepare(of)
    loss = prepared(**inputs).loss
    assert loss != plain and loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=3e-2, atol=0)
    unwrapped = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    assert unwrapped(**inputs).loss == plain


@pytest.mark.slow
def test_a_compiled_model_makes_the_same_loss() -> None:
    of, inputs = with_fused_head(model().train(), OTR(num_rollouts=16)), batch()
    plain = gradients(of, of(**inputs).loss)
    torch._dynamo.reset()
    compiled = torch.compile(of, backend="eager")
    assert_same_gradients(gradients(of, compiled(**inputs).loss), plain)


def test_what_the_head_cannot_follow_is_refused_and_left_as_it_was() -> None:
    of = bert(is_decoder=False)
    before = dict(of.__dict__)
    with pytest.raises(ValueError, match="what is known of a token depends on later ones"):
        with_fused_head(of, OTR())
    assert of.__dict__.keys() == before.keys()
    with pytest.raises(ValueError, match="objective must be one of otr's"):
        with_fused_head(model(), "otr")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Linear is not a model of transformers"):
        with_fused_head(nn.Linear(3, 4), OTR())


def test_a_schedule_needs_to_know_how_far_the_training_is() -> None:
    of, inputs = with_fused_head(model().train(), OTR(sft_until=0.5)), batch()
    with pytest.raises(ValueError, match="set model.fused_head.progress"):
        of(**inputs)
    of.fused_head.progress = 0.0  # type: ignore[union-attr]
    torch.testing.assert_close(of(**inputs).loss, expected_loss(model(), inputs, SFT(), 0))


def test_a_plain_trainer_makes_the_updates_of_ours(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "max_steps": 3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    ours = OTRTrainer(
        model=model(),
        args=arguments(tmp_path, **settings),
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=32, sft_until=0.75),
    )
    ours.train()
    theirs = Trainer(
        model=with_fused_head(model(), OTR(num_rollouts=32, sft_until=0.75), seed=3),
        args=plain_arguments(tmp_path, **settings),
        train_dataset=dataset(),
        data_collator=ours.data_collator,
        callbacks=[FollowTrainer()],
    )
    theirs.train()
    assert_same_runs(ours, theirs)


def plain_arguments(folder: Path, **changes: Any) -> TrainingArguments:
    """The settings of `arguments`, without what TRL adds."""
    wanted = arguments(folder, **changes)
    names = {
        "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps",
        "learning_rate", "lr_scheduler_type", "logging_steps", "report_to", "save_strategy", "bf16",
        "gradient_checkpointing", "use_cpu", "disable_tqdm", "seed", "adam_beta2", "weight_decay",
        "warmup_steps",
    }  # fmt: skip
    return TrainingArguments(**{name: getattr(wanted, name) for name in names})


def assert_same_runs(ours: Trainer, theirs: Trainer, kind: str = "llama") -> None:
    """Weights and logged losses agree, and the weights are not those at the start."""
    mine, yours, start = (
        {name: value.detach() for name, value in of.named_parameters()}
        for of in (ours.model, theirs.model, model(kind))
        if of is not None
    )
    for name, value in mine.items():
        moved = (value - start[name]).norm()
        assert moved > 1e-4 and (yours[name] - value).norm() < 1e-5 * value.norm(), name
    losses = [
        [line["loss"] for line in each.state.log_history if "loss" in line]
        for each in (ours, theirs)
    ]
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], rel=1e-4)
