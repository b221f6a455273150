"""The embedded tokenizer: lossless on any text, one token a symbol on the tasks, conversations."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from otr.demo import training_data
from otr.demo.tokenizer import demo_tokenizer

TOKENIZER = demo_tokenizer()
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_any_text_comes_back_unchanged(text: str) -> None:
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    ids = TOKENIZER(encodable)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == encodable


def test_a_task_has_one_token_a_symbol() -> None:
    for text in itertools.islice(training_data.pretraining_texts(0), 500):
        assert len(TOKENIZER(text)["input_ids"]) == len(text.split())
    for style in training_data.STYLES:
        for problem in training_data.demonstrations(
            style, num_demonstrations=32, wrong_share=0, seed=0
        ):
            assert len(TOKENIZER(problem.text)["input_ids"]) == len(problem.text.split())


def test_the_prompt_is_a_prefix_of_the_text_in_tokens() -> None:
    for problem in training_data.demonstrations(
        "mild", num_demonstrations=32, wrong_share=0, seed=0
    ):
        prompt = TOKENIZER(problem.prompt)["input_ids"]
        assert TOKENIZER(problem.text)["input_ids"][: len(prompt)] == prompt


def test_digits_stand_apart() -> None:
    assert [TOKENIZER.decode([token]) for token in TOKENIZER("cost 1234.5")["input_ids"][-6:]] == [
        " 1",
        "2",
        "3",
        "4",
        ".",
        "5",
    ]


def test_the_end_token_is_not_the_padding() -> None:
    assert TOKENIZER.eos_token_id != TOKENIZER.pad_token_id
    assert 400 <= len(TOKENIZER) <= 512
    ids = TOKENIZER("ans 1 .<|endoftext|>")["input_ids"]
    assert ids.count(TOKENIZER.eos_token_id) == 1


def test_it_is_the_same_after_saving(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "A sum: 12 + 3 = 15 \u00e9\u4e2d\U0001f600<|im_end|>"
    assert again(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert again.chat_template == TOKENIZER.chat_template
    assert (again.eos_token, again.pad_token) == (TOKENIZER.eos_token, TOKENIZER.pad_token)


def test_a_conversation_keeps_everything_in_it() -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"zone": "text"}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What time is it?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "I should look.",
            "tool_calls": [{"function": {"name": "clock", "arguments": {"zone": "UTC"}}}],
        },
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ]
    rendered = TOKENIZER.apply_chat_template(messages, tools=[tool], tokenize=False)
    assert rendered == (
        "<|im_start|>system\nBe brief.\n\nTools:\n"
        + json.dumps(tool)
        + '\nCall one with <tool_call>{"name": ..., "arguments": {...}}</tool_call>.<|im_end|>\n'
        "<|im_start|>user\nWhat time is it?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nI should look.\n</think>\n"
        '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\n<tool_response>12:00</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nNoon.<|im_end|>\n"
    )


def test_a_generation_prompt_opens_the_assistants_turn() -> None:
    rendered = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside the project")
def test_gsm8k_rows_fit_the_models_positions() -> None:
    with open(SHARED / "gsm8k" / "train.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    longest = max(rows, key=lambda row: len(row["question"]) + len(row["answer"]))
    assert len(TOKENIZER(longest["question"] + "\n" + longest["answer"])["input_ids"]) < 4096
