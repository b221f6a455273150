"""Conversations: each learned turn is asked for as at inference, and learned to its end."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from otr.errors import UserError
from otr.rows import read_rows
from otr.training.config import Data
from otr.training.encoding import IGNORED
from otr.training.tokens import tokenized_dataset

from . import chat_models
from .chat_models import DATA, byte_level
from .examples import PLAIN_TURNS, TOOL, TURNS, learned, tokenized, whole

TOOL_TURNS = [
    {"from": "human", "value": "Weather?"},
    {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Paris"}}'},
    {"from": "observation", "value": "sunny"},
    {"from": "gpt", "value": "It is sunny."},
]
REAL = [
    "chat/v1_sft_demo.jsonl",
    "chat/reason_tool_use_demo_50.jsonl",
    "chat/glaive_toolcall_en_demo.json",
    "chat/alpaca_en_demo.json",
    "gsm8k/train.jsonl",
]


def test_without_markers_the_answers_and_their_end_are_learned():
    tokenizer = byte_level(chat_models.PLAIN)
    rows = [{"messages": PLAIN_TURNS}]
    text = tokenizer.apply_chat_template(PLAIN_TURNS, tokenize=False)
    assert whole(rows, tokenizer) == [text]
    assert learned(rows, tokenizer) == ["The answer is 5.<|im_end|>\n\nYes, 5.<|im_end|>"]


@pytest.mark.parametrize("template", ["MARKED", "MARKED_WITHOUT_END"])
def test_markers_give_the_same_labels_as_prefixes_do(template):
    rows = [
        {"messages": TURNS},
        {"messages": [PLAIN_TURNS[0], PLAIN_TURNS[1] | {"weight": 0}, *PLAIN_TURNS[2:]]},
        {"conversations": TOOL_TURNS, "tools": [TOOL]},
    ]
    for row in rows:
        with_markers, _ = tokenized([row], byte_level(getattr(chat_models, template)))
        without, _ = tokenized([row], byte_level(chat_models.PLAIN))
        assert with_markers == without


@pytest.mark.parametrize("template", ["PLAIN", "MARKED", "FORGETFUL", "HEADERS", "WITHOUT_SYSTEM"])
def test_learned_turns_are_asked_for_as_at_inference(template):
    tokenizer = byte_level(getattr(chat_models, template))
    for number in (1, 3):
        turns = [m | {"weight": int(i == number)} if i % 2 else m for i, m in enumerate(TURNS)]
        ((ids, answer),), _ = tokenized([{"messages": turns}], tokenizer)
        prompt = tokenizer.apply_chat_template(
            TURNS[:number], add_generation_prompt=True, return_dict=False
        )
        assert ids[: len(prompt)] == prompt
        assert ids[len(prompt) : len(prompt) + len(answer)] == answer


def test_a_token_does_not_straddle_the_start_of_an_answer():
    tokenizer = byte_level(chat_models.PLAIN)
    # The prompt ends in a line break and the answer begins with two.
    ((ids, answer),), _ = tokenized([{"messages": PLAIN_TURNS[2:]}], tokenizer)
    assert tokenizer(tokenizer.decode(ids))["input_ids"] != ids
    prompt = tokenizer.apply_chat_template(
        PLAIN_TURNS[2:3], add_generation_prompt=True, return_dict=False
    )
    assert ids[: len(prompt)] == prompt
    assert tokenizer.decode(answer) == "\n\nYes, 5.<|im_end|>"


def test_a_template_that_forgets_reasoning_gets_an_example_for_each_answer():
    tokenizer = byte_level(chat_models.FORGETFUL)
    rows = [{"messages": TURNS}]
    assert learned(rows, tokenizer) == [
        "<think>\nI count.\n</think>\n\nThe answer is 5.<|im_end|>",
        "<think>\nI count again.\n</think>\n\n\n\nYes, 5.<|im_end|>",
    ]
    assert "I count." not in whole(rows, tokenizer)[1]
    _, report = tokenized(rows, tokenizer)
    assert report.split == ("a.jsonl, line 1",)
    # Without reasoning nothing is forgotten, so one example is enough.
    assert len(learned([{"messages": PLAIN_TURNS}], tokenizer)) == 1


def test_a_begin_token_in_the_template_comes_once_and_contents_may_be_trimmed():
    tokenizer = byte_level(chat_models.HEADERS, begin="<|begin_of_text|>")
    ((ids, answer),), report = tokenized([{"messages": PLAIN_TURNS}], tokenizer)
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(answer) == "The answer is 5.<|eot_id|>Yes, 5.<|eot_id|>"
    assert report.double_begin == ()


def test_two_begin_tokens_are_reported():
    tokenizer = byte_level(chat_models.HEADERS, begin="<|begin_of_text|>")
    rows = [{"prompt": "<|begin_of_text|><|begin_of_text|>a", "completion": "b"}]
    assert tokenized(rows, tokenizer)[1].double_begin == ("a.jsonl, line 1",)


def test_weights_in_the_data_switch_turns_off():
    for template in (chat_models.PLAIN, chat_models.MARKED):
        tokenizer = byte_level(template)
        turns = [
            m | {"loss_weight": weight}
            for m, weight in zip(PLAIN_TURNS, (0, 1, 0, 0.0), strict=True)
        ]
        assert learned([{"messages": turns}], tokenizer) == ["The answer is 5.<|im_end|>"]


def test_supervise_last_learns_the_last_answer_alone():
    tokenizer = byte_level(chat_models.MARKED)
    rows = [{"messages": PLAIN_TURNS}]
    assert learned(rows, tokenizer, supervise="last") == ["\n\nYes, 5.<|im_end|>"]


def test_tool_calls_and_tools_are_rendered_and_calls_learned():
    tokenizer = byte_level(chat_models.PLAIN)
    rows = [{"conversations": TOOL_TURNS, "tools": [TOOL]}]
    (text,) = learned(rows, tokenizer)
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert text == f"{call}<|im_end|>It is sunny.<|im_end|>"
    assert "the weather" in whole(rows, tokenizer)[0]


def test_nothing_after_the_last_learned_turn_is_kept():
    tokenizer = byte_level(chat_models.PLAIN)
    rows = [{"messages": [*PLAIN_TURNS, {"role": "user", "content": "Thanks!"}]}]
    assert whole(rows, tokenizer) == whole([{"messages": PLAIN_TURNS}], tokenizer)


def test_variables_reach_the_template():
    for template in (chat_models.PLAIN, chat_models.MARKED):
        tokenizer = byte_level("{{ 'be quick ' if quick else '' }}" + template)
        rows = [{"messages": PLAIN_TURNS[:2]}]
        (text,) = whole(rows, tokenizer, chat_template_kwargs={"quick": True})
        assert text.startswith("be quick <|im_start|>user")


REFUSED = {
    "no template": (None, PLAIN_TURNS, "has no chat template.*\n.*training.chat_template_path"),
    "system role": (
        chat_models.WITHOUT_SYSTEM,
        [{"role": "system", "content": "a"}, *PLAIN_TURNS],
        "line 1: the chat template cannot render.*System role not supported\nIts roles: system, user",
    ),
    "template error": ("{{ messages[9].content + 1 }}", PLAIN_TURNS, "line 1.*cannot render"),
    "answers rewritten": (
        chat_models.PLAIN.replace("message.content }}", "message.content.replace('ans', 's') }}"),
        PLAIN_TURNS,
        "message 2: the chat template does not render the answer 'The answer is 5.'",
    ),
    "markers elsewhere": (
        "{% for message in messages %}{% generation %}{{ message.role }}{% endgeneration %}"
        "{{ message.content }}<|im_end|>{% endfor %}",
        PLAIN_TURNS,
        "message 2: the chat template does not mark as generated the answer",
    ),
    "nothing marked": (
        "{% for message in messages %}{{ message.reasoning_content }}{% endfor %}"
        "{% generation %}{% endgeneration %}",
        [TURNS[0], {"role": "assistant", "reasoning_content": "I count."}],
        "line 1: the chat template marks nothing as generated",
    ),
    "calls left out": (
        chat_models.FORGETFUL,
        [PLAIN_TURNS[0], {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}],
        "does not render the call of the tool 'f'",
    ),
    "prompt that answers do not follow": (
        chat_models.PLAIN + "{% if add_generation_prompt %}<think>{% endif %}",
        PLAIN_TURNS,
        "message 2: the chat template's prompt for an answer goes on with '<think>'",
    ),
    "answer first": (chat_models.PLAIN, PLAIN_TURNS[1:], "begins with an assistant turn"),
    "surrogate": (
        chat_models.PLAIN,
        [{"role": "user", "content": "\ud800"}, PLAIN_TURNS[1]],
        "line 1: holds half of a surrogate pair",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_conversations_that_cannot_be_learned_are_refused(case):
    template, turns, said = REFUSED[case]
    with pytest.raises(UserError, match=f"(?s){said}"):
        tokenized([{"messages": turns}], byte_level(template))


def test_what_the_template_leaves_out_is_reported():
    tools_only = chat_models.FORGETFUL
    _, report = tokenized(
        [{"messages": PLAIN_TURNS, "tools": [TOOL]}, {"messages": PLAIN_TURNS}],
        byte_level(tools_only),
    )
    assert report.tools_left_out == ("a.jsonl, line 1",)
    _, report = tokenized([{"messages": TURNS}], byte_level(chat_models.HEADERS))
    assert report.reasoning_left_out == ("a.jsonl, line 1",)
    silent = (
        "{% for message in messages if message.role != 'system' %}"
        + (chat_models.ENDLESS.split("messages %}", 1)[1])
    )
    system = {"role": "system", "content": "Be short."}
    _, report = tokenized([{"messages": [system, *PLAIN_TURNS]}], byte_level(silent))
    assert report.messages_left_out == ("a.jsonl, line 1",)
    assert report.without_end == ("a.jsonl, line 1",)


def test_rows_with_nothing_to_learn_are_dropped_and_reported():
    tokenizer = byte_level(chat_models.PLAIN)
    rows = [{"messages": [PLAIN_TURNS[0], PLAIN_TURNS[1] | {"weight": 0}]}]
    with pytest.raises(UserError, match="none of the 1 rows is left: 1 with nothing to learn"):
        tokenized(rows, tokenizer)
    examples, report = tokenized([*rows, {"messages": PLAIN_TURNS}], tokenizer)
    assert len(examples) == 1
    assert report.unsupervised == ("a.jsonl, line 1",)


def test_copies_are_reported_and_kept():
    rows = [{"text": "a"}, {"text": "b"}, {"text": "a"}]
    examples, report = tokenized(rows, byte_level())
    assert len(examples) == 3 and report.duplicates == ("a.jsonl, line 3",)


# Templates as published, of those that come with TRL

PUBLISHED = {
    "qwen2_5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3_training": "<|im_end|>",
    "qwen3_5_think": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "llama3_training": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "phi3": "<|end|>",
    "gptoss": "<|return|>",
    "gptoss_training": "<|return|>",
    "deepseekv3_training": "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "glm4moe": "",
}
ENDS = [end for end in PUBLISHED.values() if end]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_templates_learn_each_answer_and_its_end(name):
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    file = Path(spec.origin).parent / "chat_templates" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"this TRL has no template {name}")
    tokenizer = byte_level(file.read_text(), begin="<s>")
    tokenizer.add_special_tokens({"extra_special_tokens": ENDS})
    examples, report = tokenized([{"messages": PLAIN_TURNS}], tokenizer)
    text = "".join(str(tokenizer.decode(answer)) for _, answer in examples)
    assert text.index("The answer is 5.") < text.index("Yes, 5.")
    assert "How many" not in text and "Sure?" not in text
    end = PUBLISHED[name]
    assert bool(end) is not bool(report.without_end)
    assert text.endswith(end)
    if "training" not in name:
        prompt = tokenizer.apply_chat_template(
            PLAIN_TURNS[:3], add_generation_prompt=True, tokenize=False
        )
        assert str(tokenizer.decode(examples[-1][0])).startswith(str(prompt))


# Real data


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
@pytest.mark.parametrize("template", ["PLAIN", "MARKED_WITHOUT_END"])
@pytest.mark.parametrize("name", REAL)
def test_decoding_the_supervised_tokens_gives_back_the_answers(name, template):
    tokenizer = byte_level(getattr(chat_models, template))
    rows = read_rows(str(DATA / name), limit=300)
    dataset, report = tokenized_dataset(rows, Data(train=name), tokenizer)
    assert len(dataset) == report.num_examples == len(rows)
    losses = (report.unsupervised, report.without_end, report.unknown, report.reasoning_left_out)
    losses += (report.tools_left_out, report.messages_left_out, report.double_begin)
    assert not any(losses)
    assert report.end_tokens == {"<|im_end|>": len(rows)}
    for row, example in zip(rows, dataset.to_list(), strict=True):
        ids = [label for label in example["labels"] if label != IGNORED]
        text = str(tokenizer.decode(ids))
        for answer in answers(row.values):
            assert answer in text
        assert text.endswith("<|im_end|>") and "<|im_start|>" not in text


def answers(values):
    """The answers of a row of the real files, read without the package."""
    for column in ("answer", "output"):
        if column in values:
            yield values[column]
    for turn in values.get("conversations", ()):
        if turn["from"] == "gpt":
            yield turn["value"]
    for turn in values.get("messages", ()):
        if turn["role"] == "assistant":
            for part in turn["content"]:
                yield part["value"] if part["type"] != "tool_call" else '{"name": "'


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "messages.__class__.__base__",
        "raise_exception.__globals__.keys()",
        "cycler.__init__.__globals__.os.popen('touch ran').read()",
    ],
)
def test_a_template_gets_nowhere_beyond_its_own_text(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_level(chat_models.PLAIN + "{{ " + expression + " }}")
    with pytest.raises(UserError, match="chat template"):
        tokenized([{"messages": PLAIN_TURNS}], tokenizer)
    assert not list(tmp_path.iterdir())
