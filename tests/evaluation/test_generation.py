"""Batched generation against generation one prompt at a time."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from otr.demo.tasks import evaluation_problems
from otr.demo.tokenizer import demo_tokenizer
from otr.errors import UserError
from otr.evaluation import generation
from otr.evaluation.generation import BatchSizes, TransformersEngine
from otr.evaluation.requests import Generated, Key, Request
from otr.pretrained import load_model, load_tokenizer

STRONG, TOKENIZER = load_model("demo").eval(), load_tokenizer("demo")
PROMPTS = [problem.prompt for problem in evaluation_problems()["retention"][:13]]
PROMPTS += [problem.prompt for problem in evaluation_problems()["longer"][:8]]


def requests(prompts: list[str] = PROMPTS, samples: int = 1, **changes: Any) -> list[Request]:
    return [
        Request(
            **{
                "benchmark": "some",
                "question": f"some/{number}",
                "sample": sample,
                "prompt": prompt,
                "max_new_tokens": 40,
            }
            | changes
        )
        for number, prompt in enumerate(prompts)
        for sample in range(samples)
    ]


def answers(
    asked: list[Request], model: Any = STRONG, tokenizer: Any = TOKENIZER, **options: Any
) -> dict[Key, Generated]:
    found: dict[Key, Generated] = {}
    engine = TransformersEngine(model, tokenizer, sizes=options.pop("sizes", None))
    assert engine.answer(asked, lambda one, answer: found.update({one.key: answer}), **options)
    return found


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
        found = answers(requests())
        for number, (ids, cut) in enumerate(expected):
            answer = found["some", f"some/{number}", 0]
            assert answer.text == TOKENIZER.decode(ids)
            assert answer.truncated == cut
            assert answer.num_tokens == len(ids) + (not cut)


def test_a_cut_answer_is_counted_as_truncated() -> None:
    (answer,) = answers(requests(PROMPTS[:1], max_new_tokens=3)).values()
    assert answer.truncated and answer.num_tokens == 3
    assert answer.text == TOKENIZER.decode(greedy_by_hand(PROMPTS[0], 3)[0])


def test_answers_end_before_their_first_stop_text_wherever_tokens_end() -> None:
    whole = answers(requests())
    asked, expected = [], {}
    for number, request in enumerate(requests()):
        text = whole[request.key].text
        # Of each answer other characters, beginning or ending within a token.
        stops = ("nothing like it", text[4 + number % 5 : 7 + number % 5], text[-3:-1])
        request = requests([request.prompt], stop=stops, question=request.question)[0]
        asked.append(request)
        expected[request.key] = text[: min(p for s in stops if (p := text.find(s)) >= 0)]
    found = answers(asked)
    assert {key: answer.text for key, answer in found.items()} == expected
    for key, answer in found.items():
        assert not answer.truncated
        assert answer.num_tokens < whole[key].num_tokens
    assert len({answer.num_tokens for answer in found.values()}) > 1


def test_an_answer_depends_on_nothing_else_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests(samples=3, temperature=1.5, seed=5)
    whole = answers(asked)
    assert len({answer.text for answer in whole.values()}) > 40
    monkeypatch.setattr(generation, "_MAX_ROWS", 4)
    torch.manual_seed(99)
    for part in (asked[::-1], asked[7:19], [asked[30]]):
        assert answers(part) == {request.key: whole[request.key] for request in part}
    others = answers(requests(samples=3, temperature=1.5, seed=6))
    assert sum(others[key].text == whole[key].text for key in whole) < len(whole) // 2


def test_sampling_leaves_torchs_own_random_numbers_alone() -> None:
    torch.manual_seed(11)
    untouched = torch.rand(3)
    torch.manual_seed(11)
    answers(requests(temperature=1.0))
    assert torch.equal(torch.rand(3), untouched)


def test_sampled_tokens_follow_the_tempered_softmax() -> None:
    temperature, num_samples = 2.0, 4000
    found = answers(
        requests(PROMPTS[:1], samples=num_samples, temperature=temperature, max_new_tokens=1)
    )
    ids = torch.tensor([TOKENIZER(PROMPTS[0])["input_ids"]])
    with torch.inference_mode():
        share_V = (STRONG(ids).logits[0, -1] / temperature).softmax(-1)
    drawn = [answer.text for answer in found.values()]
    for token in share_V.topk(5).indices.tolist():
        share = float(share_V[token])
        spread = (share * (1 - share) / num_samples) ** 0.5
        assert drawn.count(str(TOKENIZER.decode([token]))) / num_samples == pytest.approx(
            share, abs=4 * spread
        )


def test_random_numbers_of_questions_samples_and_seeds_are_unlike() -> None:
    kinds = [{}, {"seed": 1}, {"sample": 1}, {"question": "other"}, {"benchmark": "other"}]
    first = [requests(["?"], **kind)[0].uniforms() for kind in kinds]
    assert len({numbers[0] for numbers in first}) == len(kinds)
    longer = requests(["?"], max_new_tokens=400)[0].uniforms()
    assert longer[:40].tolist() == first[0].tolist()
    assert longer.mean() == pytest.approx(0.5, abs=0.06)


def test_the_models_own_generation_defaults_have_no_say() -> None:
    model = load_model("demo").eval()
    assert model.generation_config is not None
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.max_length = 12
    assert answers(requests(), model) == answers(requests())


def test_answers_are_told_as_soon_as_they_end() -> None:
    lengths: list[int] = []
    engine = TransformersEngine(STRONG, TOKENIZER)
    engine.answer(requests(), lambda _, answer: lengths.append(answer.num_tokens))
    assert lengths == sorted(lengths) and len(lengths) == len(PROMPTS)


def test_what_is_stopped_goes_on_in_the_same_batches_to_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generation, "_MAX_ROWS", 6)
    asked = requests(samples=2, temperature=1.2)
    whole = answers(asked)
    found: dict[Key, Generated] = {}
    engine = TransformersEngine(STRONG, TOKENIZER)
    for number in (3, 10, 17):
        assert not engine.answer(
            asked,
            lambda one, answer: found.update({one.key: answer}),
            done=frozenset(found),
            should_stop=lambda number=number: len(found) >= number,
        )
        assert number <= len(found) < len(asked)
    told: list[Key] = []
    before = frozenset(found)

    def note(one: Request, answer: Generated) -> None:
        told.append(one.key)
        found[one.key] = answer

    engine.answer(asked, note, done=before)
    assert found == whole
    assert not before & set(told)


class Small:
    """A model with memory for three rows only."""

    def __init__(self, error: type[Exception], message: str) -> None:
        self.model, self.error, self.message = load_model("demo").eval(), error, message
        self.tried: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def generate(self, *, input_ids: torch.Tensor, **options: Any) -> Any:
        self.tried.append(len(input_ids))
        if len(input_ids) > 3:
            raise self.error(self.message)
        return self.model.generate(input_ids=input_ids, **options)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        (MemoryError, ""),
    ],
)
def test_batches_that_do_not_fit_are_halved(error: type[Exception], message: str) -> None:
    small = Small(error, message)
    noted: list[tuple[str, int, int]] = []
    sizes = BatchSizes(lambda *size: noted.append(size))
    assert answers(requests(), small, sizes=sizes) == answers(requests())
    assert small.tried == [21, 10, 5, 2, *[2] * 9, 1]
    assert [size for _, _, size in noted] == [512, 10, 5, 2]
    again = BatchSizes()
    for size in noted:
        again.restore(*size)
    small.tried.clear()
    answers(requests(), small, sizes=again)
    assert small.tried == [*[2] * 10, 1]


def test_a_question_that_does_not_fit_alone_is_named() -> None:
    small = Small(torch.OutOfMemoryError, "CUDA out of memory. Tried 9 GiB")
    small.generate = lambda **_: _raise(small)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="some/0: not enough memory for this question alone"):
        answers(requests(PROMPTS[:1]), small)


def _raise(small: Small) -> None:
    raise small.error(small.message)


def test_other_errors_of_the_model_are_not_taken_for_a_lack_of_memory() -> None:
    small = Small(RuntimeError, "shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        answers(requests(), small)
    assert small.tried == [21]


def test_logits_that_are_no_numbers_are_an_error_and_no_answers() -> None:
    model = load_model("demo").eval()
    with torch.no_grad():
        next(iter(model.parameters())).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="some/0.*not numbers"):
        answers(requests(PROMPTS[:1]), model)


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
    with pytest.raises(UserError, match="some/0: its prompt has 10 tokens.* 10 positions"):
        answers(requests(["add 1" * 5]), model, tokenizer)
    # A near one leaves the others their length.
    near, far = answers(requests(["add 1" * 4, "add"], max_new_tokens=5), model, tokenizer).values()
    assert sorted((near.num_tokens, far.num_tokens)) == [2, 5]
