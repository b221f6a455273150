"""A row may have variables of the chat template of its own, as in TRL."""

import json

import pytest

from otr.errors import UserError

from . import chat_models
from .chat_models import byte_level
from .examples import learned, tokenized, whole

# A prompt for an answer without reasoning has an empty one, as Qwen3's.
SWITCHED = (
    chat_models.PLAIN.replace("{% if add_generation_prompt %}", "{%- if add_generation_prompt %}")
    .replace(
        "<|im_start|>assistant\n{% endif %}",
        "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
        "<think>\n\n</think>\n\n{% endif %}{% endif %}",
    )
    .replace(
        "{{ message.content }}\n{%- for call",
        "{{ '<think>\n\n</think>\n\n' if enable_thinking is defined and enable_thinking is false and not "
        "message.reasoning_content else '' }}{{ message.content }}\n{%- for call",
    )
)
USER = {"role": "user", "content": "Hi"}
PLAIN = {"role": "assistant", "content": "Hello."}
THOUGHT = PLAIN | {"reasoning_content": "A greeting."}


def row(answer, variables):
    return {"messages": [USER, answer], "chat_template_kwargs": variables}


@pytest.mark.parametrize("form", [lambda variables: variables, json.dumps])
def test_rows_with_and_without_thinking_mix(form):
    tokenizer = byte_level(SWITCHED)
    rows = [row(THOUGHT, form({"enable_thinking": True})), row(PLAIN, None), row(PLAIN, "")]
    rows.append(row(PLAIN, form({"enable_thinking": False})))
    thought = "<think>\nA greeting.\n</think>\n\nHello.<|im_end|>"
    assert learned(rows, tokenizer) == [thought, *["Hello.<|im_end|>"] * 3]
    assert ["</think>" in text for text in whole(rows, tokenizer)] == [True, False, False, True]
    _, report = tokenized(rows, tokenizer)
    assert report.ignored_columns == ()


def test_a_rows_variables_come_before_the_files():
    tokenizer = byte_level(SWITCHED)
    rows = [row(THOUGHT, {"enable_thinking": True}), row(PLAIN, {"other": 1})]
    off = {"enable_thinking": False}
    texts = whole(rows, tokenizer, chat_template_kwargs=off)
    assert "\n\n</think>\n\nHello" in texts[1] and texts[0] == whole(rows, tokenizer)[0]


def test_variables_that_are_no_object_are_refused():
    with pytest.raises(
        UserError, match="line 1, column 'chat_template_kwargs': expected variables"
    ):
        learned([row(PLAIN, [1])], byte_level(SWITCHED))


def test_the_advice_names_no_setting_that_is_set_already():
    # Its prompts always go on with an empty reasoning, which answers do not have.
    always = SWITCHED.replace(
        "enable_thinking is defined and enable_thinking is false %}<", "true %}<"
    )
    rows = [{"messages": [USER, PLAIN]}]
    set_it = "Set enable_thinking: false in data.chat_template_kwargs"
    with pytest.raises(UserError, match=set_it):
        learned(rows, byte_level(always))
    thoughts = [{"messages": [USER, THOUGHT]}]
    with pytest.raises(UserError) as caught:
        learned(thoughts, byte_level(SWITCHED), chat_template_kwargs={"enable_thinking": False})
    assert set_it not in str(caught.value)
    assert '{"enable_thinking": true} in a column `chat_template_kwargs`' in str(caught.value)
    other = always.replace("enable_thinking is false and not", "enable_thinking == 7 and not")
    with pytest.raises(UserError) as caught:
        learned(rows, byte_level(other), chat_template_kwargs={"enable_thinking": False})
    assert "enable_thinking is false already" in str(caught.value)
    without = chat_models.PLAIN.replace("assistant\n{% endif %}", "assistant\nSo: {% endif %}")
    with pytest.raises(UserError) as caught:
        learned(rows, byte_level(without))
    assert "enable_thinking" not in str(caught.value)
