"""What `otr inspect` shows of each token, against the head's own loss and float64 autograd."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from otr import runs
from otr.errors import UserError
from otr.lm_head import logits_loss
from otr.objectives import ALL, DFT, OTR, SFT, Anchor, Objective, Unlikelihood
from otr.pretrained import load_model, load_tokenizer
from otr.training.chosen_examples import chosen_examples
from otr.training.config import Data, Run
from otr.training.inspection import label_of, run_token_views, token_views
from otr.training.prepared_run import prepare
from otr.training.token_keys import step_seed
from otr.training.token_parts import token_parts
from otr.training.trainer import OTRTrainer
from otr.training.words import word_text
from tests.training import models

pytestmark = pytest.mark.filterwarnings("ignore")

OBJECTIVES: tuple[Objective, ...] = (
    *(kind() for kind in ALL),
    OTR(num_rollouts=16, wrong_reward=0),
    OTR(num_rollouts="exact", temperature=0.8),
    OTR(num_rollouts=16, least_chance=0.05, sft_share=0.25, entropy_bonus=0.02),
    DFT(floor=0.1, entropy_bonus=0.05),
    Unlikelihood(floor=2, entropy_bonus=-0.05),
)
ROWS = [
    {"prompt": f"w{3 * n} w{n + 1}", "completion": " ".join(f"w{(n + 7 * k) % 120}" for k in range(6))}
    for n in range(5)
]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Data:
    runs.write_jsonl(tmp_path / "rows.jsonl", ROWS)
    return Data(train=str(tmp_path / "rows.jsonl"))


def saved(folder: Path, kind: str = "llama", **changes: Any) -> str:
    models.model(kind, **changes).save_pretrained(folder / kind)
    models.tokenizer().save_pretrained(folder / kind)
    return str(folder / kind)


def supervised(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [token for token in view["tokens"] if token["supervised"]]


def test_parts_add_up_to_token_losses_and_these_to_the_head_s_loss(
    tmp_path: Path, rows: Data
) -> None:
    views = token_views(saved(tmp_path), rows, [0, 3], OBJECTIVES, seed=3)
    json.dumps(views, allow_nan=False)
    for view in views["examples"]:
        tokens = supervised(view)
        assert len(tokens) == view["num_supervised"] == 7
        for index, summary in enumerate(view["objectives"]):
            ours = [token["objectives"][index] for token in tokens]
            for token, mine in zip(tokens, ours, strict=True):
                assert sum(mine["parts"].values()) == pytest.approx(mine["loss"], abs=1e-5)
                label = [word["is_label"] for word in token["words"]].index(True)
                assert mine["weights"][label] == mine["weight"]
                weights = sum(mine["weights"]) + mine["others"]["weight"]
                assert weights == pytest.approx(mine["total_weight"], abs=1e-5)
                if mine["losses"] is not None:
                    listed = mine["parts"]["label"] + mine["parts"]["words"]
                    assert sum(mine["losses"]) == pytest.approx(listed, abs=1e-5)
            total = sum(mine["loss"] for mine in ours)
            assert total == pytest.approx(summary["sum_of_losses"], abs=1e-5)
            assert total / len(ours) == pytest.approx(summary["loss"], abs=1e-5), summary["label"]


def problem(num_tokens: int = 9, vocabulary: int = 57) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(num_tokens, vocabulary, generator=generator, dtype=torch.float64)
    labels = torch.randint(vocabulary, (num_tokens,), generator=generator)
    labels[:3] = logits[:3].argmax(-1)
    return logits, labels, torch.arange(num_tokens) * 977 + 3


def parts_of(objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    logits, labels, keys = problem()
    return token_parts(logits, labels, keys, objectives, seed=11, word_text=str)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=label_of)
def test_pushes_are_the_negative_gradient_by_autograd_in_float64(objective: Objective) -> None:
    logits, labels, keys = problem()
    leaf = logits.clone().requires_grad_()
    loss = logits_loss(
        leaf, labels, objective, seed=11, token_keys=keys, num_tokens=1, backend="reference"
    ).loss
    (gradient,) = torch.autograd.grad(loss, leaf)
    for t, token in enumerate(parts_of([objective])):
        (mine,) = token["objectives"]
        assert mine["gradient_norm"] == pytest.approx(float(gradient[t].abs().sum()), abs=1e-6)
        assert mine["push"] == pytest.approx(-float(gradient[t, labels[t]]), abs=1e-6)
        words = [word["id"] for word in token["words"]]
        assert mine["pushes"] == pytest.approx((-gradient[t, words]).tolist(), abs=1e-6)
        unlisted = float(gradient[t].sum() - gradient[t, words].sum())
        assert mine["others"]["push"] == pytest.approx(-unlisted, abs=1e-6)


def test_otr_s_parts_follow_from_its_draws_alone() -> None:
    logits, labels, keys = problem()
    objective = OTR(num_rollouts=64, temperature=1.3, wrong_reward=-0.5)
    out = logits_loss(
        logits, labels, objective, seed=11, token_keys=keys, return_rollouts=True
    )  # fmt: skip
    assert out.rollouts is not None
    log_pi = logits.log_softmax(-1)
    for t, token in enumerate(parts_of([objective])):
        (mine,) = token["objectives"]
        draws, label = out.rollouts[t].tolist(), int(labels[t])
        hits = draws.count(label)
        assert mine["hits"] == hits
        assert mine["weight"] == mine["hit_rate"] == pytest.approx(hits / 64)
        assert mine["reward"] == pytest.approx(hits / 64 - 0.5 * (64 - hits) / 64)
        assert mine["parts"]["label"] == pytest.approx(-hits / 64 * float(log_pi[t, label]))
        for word, count, loss in zip(token["words"], mine["draws"], mine["losses"], strict=True):
            assert count == draws.count(word["id"])
            if not word["is_label"]:
                assert loss == pytest.approx(0.5 * count / 64 * float(log_pi[t, word["id"]]))
        assert sum(mine["draws"]) + mine["others"]["draws"] == 64
        listed = {word["id"] for word in token["words"]}
        wrong = Counter(word for word in draws if word != label)
        assert {word for word, _ in wrong.most_common(8)} <= listed
        assert set(logits[t].topk(10).indices.tolist()) | {label} <= listed
        q = (logits[t] / 1.3).softmax(-1)
        assert mine["q"] == pytest.approx(float(q[label]), rel=1e-5)


def test_a_token_that_no_draw_hits_gets_no_weight_and_its_hotter_policy_is_named() -> None:
    logits, labels, keys = problem()
    rare = logits.clone()
    rare[4, labels[4]] = -9.0
    plain, hotter = OTR(num_rollouts=16), OTR(num_rollouts=16, least_chance=0.05)
    token = token_parts(rare, labels, keys, [plain, hotter], seed=11, word_text=str)[4]
    first, second = token["objectives"]
    assert (first["hits"], first["weight"], first["parts"]["label"]) == (0, 0, 0)
    assert first["temperature"] == pytest.approx(1.3)
    assert second["temperature"] == pytest.approx(1.3 * 8)
    assert second["q"] > first["q"]


def test_draws_tokens_and_mask_are_those_of_the_first_training_step(
    tmp_path: Path, rows: Data
) -> None:
    folder, objective = saved(tmp_path), OTR(num_rollouts=32)
    tokenizer = load_tokenizer(folder)
    examples = chosen_examples(rows, range(5), tokenizer)
    dataset = [
        {"input_ids": each.input_ids_T.tolist(), "labels": each.labels_T.tolist()}
        for each in examples
    ]
    trainer = OTRTrainer(
        load_model(folder),
        models.arguments(tmp_path / "out", seed=3),
        train_dataset=models.dataset().from_list(dataset),
        processing_class=tokenizer,
        objective=objective,
    )
    batch = trainer.data_collator(dataset)
    with torch.no_grad():
        head, _ = trainer.forward_with_head(
            trainer.model, batch, objective, seed=step_seed(3, 0)  # type: ignore[arg-type]
        )  # fmt: skip
    hit_rates = head.hit_rate.reshape(batch["labels"].shape)
    views = token_views(folder, rows, range(5), [objective], seed=3)
    for row, view in enumerate(views["examples"]):
        kept = [index for index, token in enumerate(view["tokens"]) if token["supervised"]]
        assert kept == [i for i, label in enumerate(batch["labels"][row].tolist()) if label >= 0]
        assert [t["id"] for t in view["tokens"]] == dataset[row]["input_ids"]
        hits = [view["tokens"][index]["objectives"][0]["hits"] for index in kept]
        assert hits == [round(32 * float(hit_rates[row, index - 1])) for index in kept]


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "granite", "phi", "gpt2"])
def test_sft_s_loss_is_the_model_s_own_whatever_its_head(
    kind: str, tmp_path: Path, rows: Data
) -> None:
    folder = saved(tmp_path, kind)
    (view,) = token_views(folder, rows, [2], [SFT()])["examples"]
    (example,) = chosen_examples(rows, [2], load_tokenizer(folder))
    with torch.no_grad():
        loss = (
            load_model(folder)
            .eval()(input_ids=example.input_ids_T[None], labels=example.labels_T[None])
            .loss
        )
    assert view["objectives"][0]["loss"] == pytest.approx(float(loss), abs=1e-5)
    assert view["objectives"][0]["sum_of_losses"] / 7 == pytest.approx(float(loss), abs=1e-5)


def test_an_anchor_is_left_out_and_a_schedule_is_at_its_end_and_both_are_said(
    tmp_path: Path, rows: Data
) -> None:
    objectives = [SFT(anchor=Anchor(kl=0.3)), OTR(num_rollouts=8, sft_until=0.5)]
    (view,) = token_views(saved(tmp_path), rows, [0], [*objectives, SFT()])["examples"]
    anchored, scheduled, plain = view["objectives"]
    assert anchored["loss"] == plain["loss"] and "without its anchor" in anchored["notes"][0]
    assert anchored["label"] == "SFT (anchor=forward 0.3)"
    assert "end of its schedule" in scheduled["notes"][0] and not plain["notes"]
    assert supervised(view)[0]["objectives"][1]["weight"] < 1


def test_only_what_a_row_lacks_for_training_is_refused(tmp_path: Path, rows: Data) -> None:
    folder = saved(tmp_path)
    with pytest.raises(UserError, match="row 5: rows are counted from 0.*give 0 to 4"):
        token_views(folder, rows, [5], [SFT()])
    with pytest.raises(UserError, match="row -1"):
        token_views(folder, rows, [-1], [SFT()])
    named = rows.model_copy(update={"prompt": "ask", "completion": "completion"})
    with pytest.raises(UserError, match="no column 'ask'"):
        token_views(folder, named, [0], [SFT()])
    cut = rows.model_copy(update={"overlong": "truncate"})
    with pytest.raises(UserError, match=r"row 1 .*line 2.*nothing in it would be learned"):
        token_views(folder, cut, [1], [SFT()], max_length=2)
    with pytest.raises(UserError, match="longer than training.max_length=5"):
        token_views(folder, rows, [1], [SFT()], max_length=5)
    (view,) = token_views(folder, cut, [1], [SFT()], max_length=5)["examples"]
    assert view["num_tokens"] == 5 and view["num_supervised"] == 3
    assert view["notes"] == ["cut to training.max_length=5, as in training"]


def test_a_run_s_rows_are_read_as_its_settings_say_and_those_it_leaves_out_are_left_out(
    tmp_path: Path,
) -> None:
    asked = [[], ["w7"], ["w7"] * 40]
    talks = [
        [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": "w5 w6"}]
        for words in asked
    ]
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"messages": talk} for talk in talks])
    (tmp_path / "chat.jinja").write_text(
        "{% for each in messages %}{% if each.role == 'user' %}w1 {{ each.content }} w2 "
        "{% else %}{{ each.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    training = {"chat_template_path": str(tmp_path / "chat.jinja"), "max_length": 12}
    run = Run(
        model=saved(tmp_path),
        data=Data(train=str(tmp_path / "rows.jsonl"), overlong="drop"),
        objective={"name": "sft"},
        training=training,
        output_dir=str(tmp_path / "run"),
    )
    trained = prepare(run).train_dataset["input_ids"]
    assert len(trained) == 2
    views = run_token_views(run, [0, 1, 2, 3], [SFT()])["examples"]
    assert [view["row"] for view in views] == [0, 1]
    assert [[token["id"] for token in view["tokens"]] for view in views] == list(trained)


def test_a_row_is_read_as_the_whole_data_is(tmp_path: Path) -> None:
    # Alone, the second row would be taken for prompt and completion.
    first = {"instruction": "w9", "output": "w8 w7"}
    runs.write_jsonl(tmp_path / "rows.jsonl", [first, ROWS[1]])
    with pytest.raises(UserError, match="instruction"):
        token_views(saved(tmp_path), Data(train=str(tmp_path / "rows.jsonl")), [1], [SFT()])


def test_the_first_token_of_a_text_is_not_learned(tmp_path: Path) -> None:
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"text": "w4 w5 w6"}])
    views = token_views(saved(tmp_path), Data(train=str(tmp_path / "rows.jsonl")), [0], [SFT()])
    (view,) = views["examples"]
    assert [token["supervised"] for token in view["tokens"]] == [False, True, True, True]
    assert "nothing comes before the first token" in view["notes"][0]


def test_words_show_blanks_line_breaks_and_pieces_of_characters() -> None:
    tokenizer = load_tokenizer("demo")
    ids = tokenizer("add é\n", add_special_tokens=False)["input_ids"]
    texts = [word_text(tokenizer, word) for word in ids]  # type: ignore[union-attr]
    assert texts == ["add", " ", "\\xc3", "\\xa9", "\n"]
    (end,) = tokenizer.encode("<|endoftext|>")
    assert word_text(tokenizer, end) == "<|endoftext|>"
    assert word_text(tokenizer, 10**6) == "<1000000>"


def test_text_from_data_cannot_steer_a_terminal(tmp_path: Path) -> None:
    hostile = "\x1b[31mred \u202eback </script>"
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": hostile}])
    views = token_views("demo", Data(train=str(tmp_path / "rows.jsonl")), [0], [SFT()])
    (view,) = views["examples"]
    assert all(token["text"].isprintable() for token in view["tokens"])
    assert "\\x1b" in [token["text"] for token in view["tokens"]]
