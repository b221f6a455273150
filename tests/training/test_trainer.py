"""The trainer against TRL's own, against plain autograd, and against itself split otherwise."""

from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor
from trl.trainer.sft_trainer import SFTTrainer

from otr import DFT, OTR, SFT, OTRTrainer
from otr.lm_head import LogitTransform, logits_loss
from otr.objectives import Anchor, Objective
from otr.training.head_transform import measured_transform
from otr.training.progress import COLUMNS
from tests.training.models import CONFIGS, arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def trained(
    kind: type[SFTTrainer], folder: Path, *, of: Any = None, rows: Any = None, **keywords: Any
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Log lines and weights of a run."""
    trainer_keywords = {
        key: keywords.pop(key)
        for key in (
            "objective",
            "compaction",
            "reference_model",
            "peft_config",
        )
        if key in keywords
    }
    trainer = kind(
        model=model() if of is None else of,
        args=arguments(folder, **keywords),
        train_dataset=dataset() if rows is None else rows,
        processing_class=tokenizer(),
        **trainer_keywords,
    )
    trainer.train()
    logs = [line for line in trainer.state.log_history if "loss" in line]
    assert trainer.model is not None
    return logs, {name: value.clone() for name, value in trainer.model.state_dict().items()}


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest relative difference of any weight."""
    return max(
        float((first[name].double() - second[name].double()).norm() / first[name].double().norm())
        for name in first
        if first[name].is_floating_point() and first[name].norm() > 0
    )


def test_one_process_that_sees_several_gpus_is_refused(tmp_path: Path) -> None:
    settings = arguments(tmp_path)
    settings._n_gpu = 2
    with pytest.raises(ValueError, match="DataParallel.*torchrun"):
        OTRTrainer(
            model=model(), args=settings, train_dataset=dataset(8), processing_class=tokenizer()
        )


@pytest.mark.parametrize(("objective", "loss_type"), [(SFT(), "nll"), (DFT(), "dft")])
@pytest.mark.parametrize("steps", [1, 2])
def test_sft_and_dft_equal_the_runs_of_trl_step_by_step(
    tmp_path: Path, objective: Objective, loss_type: str, steps: int
) -> None:
    theirs, _ = trained(
        SFTTrainer, tmp_path, loss_type=loss_type, gradient_accumulation_steps=steps
    )
    ours, _ = trained(OTRTrainer, tmp_path, objective=objective, gradient_accumulation_steps=steps)
    assert len(ours) == len(theirs) == 8
    # Under accumulation TRL logs means of micro-batch means; ours are means over tokens.
    equal = ["loss", "grad_norm", "num_tokens", "learning_rate"]
    equal += ["entropy", "mean_token_accuracy"] if steps == 1 else []
    for mine, yours in zip(ours, theirs, strict=True):
        for column in equal:
            assert mine[column] == pytest.approx(yours[column], rel=1e-5), column
    assert ours[-1]["nll"] < ours[0]["nll"]


@pytest.mark.parametrize(
    "keywords",
    [
        {"packing": True, "max_length": 64, "per_device_train_batch_size": 2},
        {"padding_free": True, "max_length": None},
        {"gradient_checkpointing": True},
        {"bf16": True},
    ],
    ids=lambda keywords: next(iter(keywords)),
)
def test_what_works_with_trl_works_here(tmp_path: Path, keywords: dict[str, Any]) -> None:
    theirs, _ = trained(SFTTrainer, tmp_path, **keywords)
    ours, _ = trained(OTRTrainer, tmp_path, objective=SFT(), **keywords)
    # TRL rounds the logits under 16-bit autocast, which the head here does not.
    tolerance = 2e-2 if "bf16" in keywords else 1e-5
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(yours["loss"], rel=tolerance)
        assert mine["num_tokens"] == yours["num_tokens"]


def test_a_stream_of_rows_trains_like_the_rows_at_hand(tmp_path: Path) -> None:
    rows = dataset()
    streamed, _ = trained(
        OTRTrainer, tmp_path, rows=rows.to_iterable_dataset(), objective=DFT(), max_steps=4
    )
    theirs, _ = trained(
        SFTTrainer, tmp_path, rows=rows.to_iterable_dataset(), loss_type="dft", max_steps=4
    )
    assert [line["loss"] for line in streamed] == pytest.approx(
        [line["loss"] for line in theirs], rel=1e-5
    )


@pytest.mark.parametrize(
    ("objective", "kind", "dtype", "learning_rate"),
    [
        (SFT(), "llama", torch.float32, 1e-3),
        (DFT(), "llama", torch.float32, 1e-3),
        (OTR(num_rollouts="exact"), "llama", torch.float32, 1e-3),
        (OTR(), "llama", torch.float32, 1e-4),
        # In float64 throughout no draw lies on a boundary, whatever the learning rate.
        (OTR(), "gpt2", torch.float64, 1e-2),
    ],
    ids=str,
)
def test_the_split_of_a_batch_does_not_matter(
    tmp_path: Path, objective: Objective, kind: str, dtype: torch.dtype, learning_rate: float
) -> None:
    ends = [
        trained(
            OTRTrainer,
            tmp_path,
            of=model(kind, dtype=dtype),
            objective=objective,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=steps,
        )
        for batch, steps in ((8, 1), (4, 2), (2, 4))
    ]
    start = {name: value for name, value in model(kind).state_dict().items()}
    assert distance(start, ends[0][1]) > 1e-4
    for logs, weights in ends[1:]:
        assert distance(ends[0][1], weights) < 1e-5
        for line, whole in zip(logs, ends[0][0], strict=True):
            assert line["hit_rate"] == pytest.approx(whole["hit_rate"], rel=1e-3)


def test_every_objective_logs_the_same_columns(tmp_path: Path) -> None:
    # The run folder's metrics add the seconds.
    columns = set(COLUMNS) - {"seconds"}
    for objective in (SFT(), DFT(), OTR(), OTR(num_rollouts="exact")):
        logs, _ = trained(OTRTrainer, tmp_path, objective=objective, max_steps=2)
        for line in logs:
            assert columns <= set(line), columns - set(line)
            assert all(torch.isfinite(torch.tensor(line[column])) for column in columns)
            assert line["nll"] > 0 and line["tokens_per_second"] > 0
            assert 0 <= line["hit_rate"] <= 1 and line["peak_memory_mb"] > 10


def test_hit_rate_and_reward_are_of_one_policy_so_that_objectives_compare(tmp_path: Path) -> None:
    """At the same weights and rows they are the same; the objective's own stand beside them."""
    objectives = (SFT(), OTR(), OTR(num_rollouts="exact", temperature=2.0, wrong_reward=-0.5))
    sft, otr, hot = (
        trained(OTRTrainer, tmp_path, objective=objective, max_steps=1)[0][0]
        for objective in objectives
    )
    assert sft["hit_rate"] == sft["reward"] > 0
    assert sft["rollout_hit_rate"] == pytest.approx(sft["hit_rate"], rel=1e-4)
    for line in (otr, hot):
        assert line["hit_rate"] == line["reward"] == pytest.approx(sft["hit_rate"], rel=1e-6)
        assert line["rollout_reward"] < line["rollout_hit_rate"]
        assert abs(line["rollout_hit_rate"] / line["hit_rate"] - 1) > 0.01
    own = hot["rollout_hit_rate"]
    assert hot["rollout_reward"] == pytest.approx(own - 0.5 * (1 - own), rel=1e-5)


def test_a_schedule_from_sft_follows_the_training(tmp_path: Path) -> None:
    logs, _ = trained(OTRTrainer, tmp_path, objective=OTR(sft_until=1.0), max_steps=4)
    assert logs[0]["loss"] == pytest.approx(logs[0]["nll"], rel=1e-5)
    for line, share in zip(logs, (1.0, 0.75, 0.5, 0.25), strict=True):
        mixed = share + (1 - share) * line["rollout_hit_rate"]
        assert line["target_weight"] == pytest.approx(mixed, rel=1e-4)


def test_a_compiled_model_trains_the_same_and_is_not_compiled_again_every_step(
    tmp_path: Path,
) -> None:
    plain, _ = trained(OTRTrainer, tmp_path, objective=OTR(), max_steps=5)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=3, fail_on_recompile_limit_hit=True):
        compiled, _ = trained(
            OTRTrainer,
            tmp_path,
            objective=OTR(),
            max_steps=5,
            torch_compile=True,
            torch_compile_backend="eager",
        )
    for line, expected in zip(compiled, plain, strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert line["hit_rate"] == pytest.approx(expected["hit_rate"], rel=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("adapter", [False, True])
def test_an_anchor_adds_the_divergence_from_the_reference(
    tmp_path: Path, adapter: bool, direction: Any
) -> None:
    start, reference = model(), model()
    objective = SFT(anchor=Anchor(kl=0.5, direction=direction))
    peft = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if adapter else None
    trainer = OTRTrainer(
        model=start,
        args=arguments(tmp_path, max_steps=3, learning_rate=1e-2),
        objective=objective,
        reference_model=None if adapter else reference,
        train_dataset=dataset(),
        processing_class=tokenizer(),
        peft_config=peft,
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    # Still its own reference at the first step.
    assert lines[0]["loss"] == pytest.approx(lines[0]["nll"], rel=1e-5)

    batch = next(iter(trainer.get_train_dataloader()))
    assert trainer.model is not None
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        head, _ = trainer.forward_with_head(trainer.model, batch, objective)
        kept = batch["labels"][:, 1:] != -100
        log_pi = trainer.model(**inputs).logits[:, :-1][kept].log_softmax(-1)
        log_rho = reference(**inputs).logits[:, :-1][kept].log_softmax(-1)
    first, second = (log_rho, log_pi) if direction == "forward" else (log_pi, log_rho)
    divergence = (first.exp() * (first - second)).sum(-1)
    nll = -log_pi.gather(1, batch["labels"][:, 1:][kept][:, None])[:, 0]
    assert divergence.mean() > 1e-4
    torch.testing.assert_close(head.loss, (nll + 0.5 * divergence).mean(), rtol=1e-5, atol=1e-6)


def test_an_anchor_without_a_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an anchor needs a reference"):
        trained(OTRTrainer, tmp_path, objective=SFT(anchor=Anchor()))


def test_compaction_is_handed_to_the_head_and_what_it_kept_is_logged(tmp_path: Path) -> None:
    plain, _ = trained(OTRTrainer, tmp_path, objective=SFT(), max_steps=2)
    assert all("kept_fraction" not in line for line in plain)
    compacted, _ = trained(OTRTrainer, tmp_path, objective=SFT(), compaction=0.4, max_steps=2)
    assert all(0 < line["kept_fraction"] <= 1 for line in compacted)
    assert compacted[0]["kept_fraction"] < 1
    assert compacted[0]["loss"] == plain[0]["loss"]
    assert compacted[0]["grad_norm"] == pytest.approx(plain[0]["grad_norm"], rel=0.4)
    with pytest.raises(ValueError, match="compaction must be .off. or a bound"):
        trained(OTRTrainer, tmp_path, objective=SFT(), compaction="on")


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_gradient_is_that_of_the_full_logits(tmp_path: Path, kind: str) -> None:
    of = model(kind)
    objective = OTR(num_rollouts="exact")
    trainer = OTRTrainer(
        model=of,
        args=arguments(tmp_path),
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=objective,
    )
    of.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    count = (batch["labels"][:, 1:] != -100).sum()
    trainer.compute_loss(of, dict(batch), num_items_in_batch=count).backward()
    found = {
        name: value.grad.clone() for name, value in of.named_parameters() if value.grad is not None
    }

    of.zero_grad()
    moe = {"output_router_logits": True} if "router_aux_loss_coef" in CONFIGS[kind] else {}
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    out = of(**inputs, use_cache=False, **moe)
    loss = logits_loss(
        out.logits[:, :-1].flatten(0, 1),
        batch["labels"][:, 1:].flatten(),
        objective,
        backend="reference",
    ).loss
    if moe:
        loss = loss + 0.5 * out.aux_loss
    loss.backward()
    expected = {name: value.grad for name, value in of.named_parameters() if value.grad is not None}
    assert found.keys() == expected.keys()
    largest = max(float(value.norm()) for value in expected.values())
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 3e-5 * max(float(value.norm()), 1e-3 * largest), name


@pytest.mark.parametrize(
    ("kind", "transform"),
    [
        ("llama", LogitTransform()),
        ("gemma2", LogitTransform(1.0, 3.0)),
        ("cohere", LogitTransform(0.25)),
        ("granite", LogitTransform(1 / 3)),
    ],
)
def test_what_a_model_does_to_its_logits_is_measured(kind: str, transform: LogitTransform) -> None:
    found = measured_transform(model(kind))
    assert found.scale == pytest.approx(transform.scale, rel=1e-7)
    assert found.softcap == (transform.softcap and pytest.approx(transform.softcap, rel=1e-6))


def test_a_model_that_changes_its_logits_otherwise_is_refused(tmp_path: Path) -> None:
    of = model()
    inner = of.forward

    def forward(self: Any, *args: Any, **keywords: Any) -> Any:
        out = inner(*args, **keywords)
        out.logits = out.logits.sign() * out.logits.abs().sqrt()
        return out

    of.forward = MethodType(forward, of)
    with pytest.raises(ValueError, match="neither a factor nor a softcap"):
        trained(OTRTrainer, tmp_path, of=of, objective=SFT())


def test_rollouts_depend_on_the_sequence_alone_not_on_its_batch(tmp_path: Path) -> None:
    """The same rows in another order and padding get the same share of hits, row by row."""
    rows = dataset(16)

    def hits(order: list[int]) -> dict[int, float]:
        trainer = OTRTrainer(
            model=model().double(),
            args=arguments(tmp_path),
            train_dataset=rows,
            processing_class=tokenizer(),
            objective=OTR(num_rollouts=64),
        )
        found: dict[int, float] = {}
        for index in range(0, 16, 4):
            part = order[index : index + 4]
            batch = trainer.data_collator([rows[row] for row in part])
            for place, row in enumerate(part):
                trainer._sums["train"].clear()
                alone = {name: value.clone() for name, value in batch.items()}
                others = torch.arange(4) != place
                alone["labels"][others] = -100
                assert trainer.model is not None
                trainer.compute_loss(trainer.model, alone)
                found[row] = trainer._sums["train"].means(trainer.accelerator)["rollout_hit_rate"]
        return found

    assert hits(list(range(16))) == hits(list(range(15, -1, -1)))


def test_the_evaluation_loss_is_a_mean_over_tokens(tmp_path: Path) -> None:
    rows = dataset(21, seed=4)
    trainer = OTRTrainer(
        model=model(),
        args=arguments(tmp_path, per_device_eval_batch_size=4),
        train_dataset=dataset(),
        eval_dataset=rows,
        processing_class=tokenizer(),
        objective=DFT(),
    )
    metrics = trainer.evaluate()
    log_probs = []
    for row in rows:
        ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])  # type: ignore[index]
        with torch.no_grad():
            log_pi = trainer.model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)  # type: ignore[misc]
        kept = labels[1:] != -100
        log_probs.append(log_pi[kept].gather(1, labels[1:][kept][:, None])[:, 0])
    log_prob = torch.cat(log_probs)
    assert metrics["eval_nll"] == pytest.approx(float(-log_prob.mean()), rel=1e-5)
    assert metrics["eval_loss"] == pytest.approx(
        float(-(log_prob.exp() * log_prob).mean()), rel=1e-5
    )
    again = trainer.evaluate()
    assert (again["eval_loss"], again["eval_nll"]) == (metrics["eval_loss"], metrics["eval_nll"])


def test_evaluation_draws_the_same_rollouts_every_time(tmp_path: Path) -> None:
    trainer = OTRTrainer(
        model=model(),
        args=arguments(tmp_path, learning_rate=0.0),
        train_dataset=dataset(),
        eval_dataset=dataset(10, seed=4),
        processing_class=tokenizer(),
    )
    before = trainer.evaluate()
    trainer.train()
    assert trainer.evaluate()["eval_loss"] == before["eval_loss"]


def test_a_lora_adapter_trains_and_equals_plain_autograd(tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    logs, weights = trained(
        OTRTrainer, tmp_path, objective=SFT(), peft_config=lora, learning_rate=1e-2
    )
    theirs, _ = trained(SFTTrainer, tmp_path, peft_config=lora, learning_rate=1e-2)
    assert [line["loss"] for line in logs] == pytest.approx(
        [line["loss"] for line in theirs], rel=1e-5
    )
    moved = [name for name, value in weights.items() if "lora_B" in name and value.norm() > 0]
    assert len(moved) == 14


def test_a_whole_head_can_be_trained_beside_an_adapter(tmp_path: Path) -> None:
    lora = LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"
    )
    _, weights = trained(OTRTrainer, tmp_path, peft_config=lora)
    heads = {name: value for name, value in weights.items() if "lm_head" in name}
    (original,) = (value for name, value in heads.items() if "original_module" in name)
    (copy,) = (value for name, value in heads.items() if "modules_to_save" in name)
    assert not torch.equal(original, copy)


def test_rows_that_are_cut_are_counted_and_a_total_loss_is_refused(tmp_path: Path) -> None:
    lengths = [len(row) for row in dataset()["input_ids"]]
    with pytest.warns(UserWarning) as found:
        trained(OTRTrainer, tmp_path, objective=SFT(), max_length=20, max_steps=1)
    (said,) = [str(one.message) for one in found if "max_length=20" in str(one.message)]
    num_cut = sum(length > 20 for length in lengths)
    assert f"cuts {num_cut} of 64 rows of the train data, the longest of {max(lengths)}" in said
    with pytest.raises(ValueError, match="leaves nothing to learn in any; raise max_length"):
        trained(OTRTrainer, tmp_path, max_length=1)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"loss_type": "dft"}, "objective=DFT"),
        ({"label_smoothing_factor": 0.1}, "pass objective=LabelSmoothing(epsilon=0.1)"),
        ({"objective": "otr"}, "objective must be one of otr's"),
        (
            {"peft_config": LoraConfig(target_modules=["lm_head"], task_type="CAUSAL_LM")},
            "lm_head",
        ),
        (
            {
                "peft_config": LoraConfig(
                    target_modules=["q_proj"], trainable_token_indices=[5], task_type="CAUSAL_LM"
                ),
                "of": "qwen2",
            },
            "trainable_token_indices",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_construction(
    tmp_path: Path, keywords: dict[str, Any], message: str
) -> None:
    keywords = dict(keywords)
    if "of" in keywords:
        keywords["of"] = model(keywords["of"])
    with pytest.raises(ValueError) as error:
        trained(OTRTrainer, tmp_path, **keywords)
    assert message in str(error.value)


def test_a_second_loss_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compute_loss_func would be a second objective"):
        OTRTrainer(
            model=model(),
            args=arguments(tmp_path),
            train_dataset=dataset(),
            processing_class=tokenizer(),
            compute_loss_func=lambda *_: None,
        )
