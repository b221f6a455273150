"""Batched generation against generation one prompt at a time."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from otr.demo.tasks import evaluation_problems
from otr.demo.tokenizer import demo_tokenizer
from otr.errors import UserError
from otr.evaluation import generation
from otr.evaluation.generation import generate
from otr.pretrained import load_model, load_tokenizer

STRONG, TOKENIZER = load_model("demo").eval(), load_tokenizer("demo")
PROMPTS = [problem.prompt for problem in evaluation_problems()["retention"][:13]]
PROMPTS += [problem.prompt for problem in evaluation_problems()["longer"][:8]]


def greedy_by_hand(prompt: str, max_new_tokens: int) -> tuple[list[int], bool]:
    """The likeliest tokens, each from a whole forward pass of its own."""
    ids = TOKENIZER(prompt)["input_ids"]
    drawn: list[int] = []
    for _ in range(max_new_tokens):
        with torch.inference_mode():
            token = int(STRONG(torch.tensor([ids + drawn])).logits[0, -1].argmax())
        if token in (0, 3):
            return drawn, False
        drawn.append(token)
    return drawn, True


def test_batched_answers_are_those_of_one_prompt_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = [greedy_by_hand(prompt, 40) for prompt in PROMPTS]
    for rows in (5, 512):
        monkeypatch.setattr(generation, "_MAX_ROWS", rows)
        answers = generate(STRONG, TOKENIZER, PROMPTS, max_new_tokens=40)
        for (answer,), (ids, cut) in zip(answers, expected, strict=True):
            assert answer.text == TOKENIZER.decode(ids)
            assert answer.truncated == cut
            assert answer.num_tokens == len(ids) + (not cut)


def test_a_cut_answer_is_counted_as_truncated() -> None:
    ((answer,),) = generate(STRONG, TOKENIZER, PROMPTS[:1], max_new_tokens=3)
    assert answer.truncated and answer.num_tokens == 3
    assert answer.text == TOKENIZER.decode(greedy_by_hand(PROMPTS[0], 3)[0])


def test_sampling_follows_the_seed_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(11)
    untouched = torch.rand(3)
    torch.manual_seed(11)

    def draw(seed: int) -> list[list[str]]:
        answers = generate(
            STRONG, TOKENIZER, PROMPTS, max_new_tokens=40, samples=3, temperature=1.5, seed=seed
        )
        return [[answer.text for answer in each] for each in answers]

    first = draw(0)
    assert first == draw(0) != draw(1)
    assert all(len(each) == 3 for each in first)
    assert any(len(set(each)) > 1 for each in first)
    assert torch.equal(torch.rand(3), untouched)


def test_sampled_first_tokens_follow_the_tempered_softmax() -> None:
    temperature, num_samples = 2.0, 4000
    answers = generate(
        STRONG,
        TOKENIZER,
        PROMPTS[:1],
        max_new_tokens=1,
        samples=num_samples,
        temperature=temperature,
    )
    ids = torch.tensor([TOKENIZER(PROMPTS[0])["input_ids"]])
    with torch.inference_mode():
        share_V = (STRONG(ids).logits[0, -1] / temperature).softmax(-1)
    drawn = [answer.text for answer in answers[0]]
    for token in share_V.topk(5).indices.tolist():
        share = float(share_V[token])
        spread = (share * (1 - share) / num_samples) ** 0.5
        assert drawn.count(str(TOKENIZER.decode([token]))) / num_samples == pytest.approx(
            share, abs=4 * spread
        )


def test_the_models_own_generation_defaults_have_no_say() -> None:
    model = load_model("demo").eval()
    assert model.generation_config is not None
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.max_length = 12
    changed = generate(model, TOKENIZER, PROMPTS, max_new_tokens=40)
    assert changed == generate(STRONG, TOKENIZER, PROMPTS, max_new_tokens=40)


def test_progress_ends_at_the_number_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_MAX_ROWS", 4)
    seen: list[tuple[int, int]] = []
    generate(
        STRONG,
        TOKENIZER,
        PROMPTS[:5],
        max_new_tokens=2,
        samples=2,
        temperature=1.0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_a_prompt_that_fills_the_positions_is_refused_and_a_near_one_cut_short() -> None:
    tokenizer = demo_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=10,
            eos_token_id=None,
            bos_token_id=None,
        )
    )
    with pytest.raises(UserError, match="has 10 tokens, and the model has 10 positions"):
        generate(model, tokenizer, ["add 1" * 5], max_new_tokens=5)
    ((answer,),) = generate(model, tokenizer, ["add 1" * 4], max_new_tokens=5)
    assert answer.num_tokens <= 2
