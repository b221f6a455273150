"""What a model sees of a question."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from otr.errors import UserError
from otr.evaluation.benchmarks import Benchmark, Question, load_benchmarks
from otr.evaluation.pipeline import evaluate
from otr.evaluation.prompts import Prompts
from otr.pretrained import load_model, load_tokenizer
from otr.runs import AUDIT, read_jsonl

QUESTION = Question(id="some/0", prompt="2 and 2?\n", reference="4", category="some")
TOKENIZER = load_tokenizer("demo")


def requests(prompts: Prompts, question: Question = QUESTION):
    benchmark = Benchmark(
        name="some", questions=(question,), max_new_tokens=5, rule="number", stop=("\n\n",)
    )
    return list(prompts.requests(benchmark, samples=2, temperature=1.0, seed=3))


def run_folder(folder: Path, data: str) -> Path:
    folder.mkdir(parents=True)
    load_model("demo-weak").save_pretrained(folder / "model")
    load_tokenizer("demo-weak").save_pretrained(folder / "model")
    (folder / "config.yaml").write_text(f"data: {data}\n")
    return folder


def test_a_reply_ends_with_the_longest_special_token_that_stands_behind_it() -> None:
    tokenizer = load_tokenizer("demo")
    tokenizer.add_special_tokens(
        {"extra_special_tokens": ["<|im", "<|im_", "<|im_end|>", "<|im_e"]}
    )
    assert Prompts("demo", tokenizer, "chat").end_texts == ("<|im_end|>",)


def test_plain_text_is_what_the_benchmark_says_with_its_stop_texts() -> None:
    first, second = requests(Prompts("demo", TOKENIZER))
    assert first.prompt == "2 and 2?\n" and not first.is_rendered
    assert first.stop == ("\n\n",)
    assert (first.sample, second.sample) == (0, 1)
    assert Prompts("demo", TOKENIZER).end_texts == ()


def test_a_conversation_is_rendered_up_to_the_reply_and_ends_with_the_turn() -> None:
    prompts = Prompts("demo", TOKENIZER, "chat")
    first, _ = requests(prompts)
    assert first.prompt == "<|im_start|>user\n2 and 2?<|im_end|>\n<|im_start|>assistant\n"
    assert first.is_rendered and first.stop == ()
    assert prompts.end_texts == ("<|im_end|>",)
    messages = ({"role": "system", "content": "Add."}, {"role": "user", "content": "2, 2"})
    first, _ = requests(prompts, replace(QUESTION, messages=messages))
    assert first.prompt == (
        "<|im_start|>system\nAdd.<|im_end|>\n<|im_start|>user\n2, 2<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_runs_trained_on_conversations_are_asked_in_one(tmp_path: Path) -> None:
    turns = run_folder(tmp_path / "turns", "{train: x, messages: messages}")
    plain = run_folder(tmp_path / "plain", "{train: x, prompt: question, messages: null}")
    assert Prompts(str(turns), TOKENIZER).style == "chat"
    assert Prompts(str(turns), TOKENIZER, "base").style == "base"
    assert Prompts(str(plain), TOKENIZER).style == "base"
    # Recognised by their columns, without being named in the configuration.
    for kind, style in (("messages", "chat"), ("completion", "base")):
        (plain / AUDIT).write_text(json.dumps({"kind": kind}))
        assert Prompts(str(plain), TOKENIZER).style == style
    scores = evaluate(str(turns), ["demo/longer"], limit=2)
    assert scores["demo/longer"]["prompt"] == "chat"
    question = load_benchmarks(["demo/longer"])[0].questions[0]
    assert next(read_jsonl(turns / "answers.jsonl"))["prompt"] == (
        f"<|im_start|>user\n{question.prompt.strip()}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_style_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="prompt: must be base or chat, is 'chatty'"):
        Prompts("demo", TOKENIZER, "chatty")
    plain = load_tokenizer("demo")
    plain.chat_template = None
    with pytest.raises(UserError, match="no chat template, so give --prompt base"):
        Prompts("demo", plain, "chat")
    refusing = load_tokenizer("demo")
    refusing.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(UserError, match="some/0: .*refuses it: no system turns"):
        requests(Prompts("demo", refusing, "chat"))


def test_a_chat_model_that_is_asked_in_plain_text_is_told_so_unless_somebody_chose_it(
    tmp_path: Path,
) -> None:
    chat = load_tokenizer("demo")
    chat.chat_template = "{% for each in messages %}{{ each.content }}{% endfor %}"
    assert Prompts("some/model", chat).leaves_template
    assert not Prompts("some/model", chat, "base").leaves_template
    assert not Prompts("some/model", chat, "chat").leaves_template
    # The embedded models are base models, whatever their tokenizer has.
    assert not Prompts("demo", load_tokenizer("demo")).leaves_template
    plain = run_folder(tmp_path / "plain", "{train: x, prompt: question}")
    assert not Prompts(str(plain), chat).leaves_template

    load_model("demo-weak").save_pretrained(tmp_path / "model")
    chat.save_pretrained(tmp_path / "model")
    said: list[str] = []
    evaluate(str(tmp_path / "model"), ["demo/longer"], limit=1, say=said.append)
    assert [line for line in said if "chat template" in line and "--prompt chat" in line]
    said.clear()
    evaluate(str(tmp_path / "model"), ["demo/longer"], limit=1, prompt="base", say=said.append)
    assert not [line for line in said if "chat template" in line]


def test_an_evaluation_tells_how_far_the_batch_at_work_is(tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    evaluate("demo", ["demo/longer"], limit=3, running=lambda *state: told.append(state))
    tokens = [num_tokens for _, num_tokens, _ in told]
    assert tokens == list(range(1, len(told) + 1)) and len(told) > 3
    assert told[0][0] == 3 and told[-1][0] == 0
    assert all(num_tokens <= most <= 48 for _, num_tokens, most in told)
