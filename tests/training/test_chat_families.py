"""Round trips through the templates of the model families: rendered, tokenized, masked, decoded."""

from importlib.metadata import version

import pytest

from otr.errors import UserError

from .chat_families import FAMILIES, Family
from .examples import tokenized

pytestmark = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)

SYSTEM = {"role": "system", "content": "Be brief."}
GREETING = {"role": "user", "content": "Wie geht’s? 你好"}
GREETED = {"role": "assistant", "content": "Gut — très bien! 好的 🙂\n\n👩‍🚀"}
QUESTION = {"role": "user", "content": "And 2 + 3?"}
ANSWER = {"role": "assistant", "content": "It is 5."}
TALK = [GREETING, GREETED, QUESTION, ANSWER]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "a forecast",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "of a town"}},
            "required": ["city"],
        },
    },
}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdef123",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Paris"}},
        }
    ],
}
RESULT = {"role": "tool", "content": "sunny", "tool_call_id": "abcdef123", "name": "get_weather"}


def texts(family: Family, row, **settings):
    """The tokenizer; the whole text and the learned one of each example; the report."""
    tokenizer = family.tokenizer()
    examples, report = tokenized([row], tokenizer, **settings)
    whole = [str(tokenizer.decode(ids)) for ids, _ in examples]
    learned = [str(tokenizer.decode(ids)) for _, ids in examples]
    for ids, _ in examples:
        # Also where the tokenizer would put one before every text.
        assert tokenizer.bos_token_id is None or (
            ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
        )
    return tokenizer, whole, learned, report


def said(family: Family, text: str) -> str:
    return f"{family.before}{text}{family.end}"


@pytest.mark.parametrize("with_system", [False, True])
def test_the_answers_and_what_ends_them_are_learned_and_nothing_else(family, with_system):
    turns = [SYSTEM, *TALK] if with_system else TALK
    if with_system and not family.system:
        with pytest.raises(UserError, match=r"(?s)a.jsonl, line 1.*training.chat_template_path"):
            texts(family, {"messages": turns})
        return
    tokenizer, whole, learned, report = texts(family, {"messages": turns})
    answers = [said(family, GREETED["content"]), said(family, ANSWER["content"])]
    if family.rewrites:
        # Each as it is at inference, when it is the last.
        assert learned == answers
        first = tokenizer.apply_chat_template(turns[:-2], tokenize=False)
        assert whole == [first, tokenizer.apply_chat_template(turns, tokenize=False)]
    else:
        assert learned == ["".join(answers)]
        assert whole == [tokenizer.apply_chat_template(turns, tokenize=False)]
    assert not any((report.without_end, report.double_begin, report.messages_left_out))


def test_an_answer_begins_where_the_prompt_for_it_ends_and_ends_with_a_stop_token(family):
    tokenizer = family.tokenizer()
    ((ids, answer),), report = tokenized([{"messages": TALK[:2]}], tokenizer)
    prompt = tokenizer.apply_chat_template(TALK[:1], add_generation_prompt=True, return_dict=False)
    if family.template == "deepseekv3_training":
        # Its prompt goes on with <think>, which its answers do not.
        prompt = prompt[: -len(tokenizer("<think>\n", add_special_tokens=False)["input_ids"])]
    assert ids[: len(prompt)] == prompt
    assert ids[len(prompt) : len(prompt) + len(answer)] == answer
    (end,) = report.end_tokens
    assert family.end.endswith(end)
    assert answer[-1] == tokenizer.convert_tokens_to_ids(end)


def test_reasoning_is_learned_where_the_template_has_it_and_reported_where_not(family):
    row = {"messages": [*TALK[:3], ANSWER | {"reasoning_content": "Two and three."}]}
    _, _, learned, report = texts(family, row)
    # gpt-oss's template knows it by another name, which TRL 1.15 does not give it yet.
    is_unknown = family.template == "gptoss" and version("trl") < "1.16"
    if family.reasoning is None or is_unknown:
        assert "Two and three." not in learned[-1]
        assert report.reasoning_left_out == ("a.jsonl, line 1",)
    else:
        assert learned[-1].endswith(f"{family.reasoning}It is 5.{family.end}")
        assert report.reasoning_left_out == ()


def test_calls_are_learned_and_results_and_tools_are_not(family):
    row = {"messages": [GREETING, CALL, RESULT, ANSWER], "tools": [TOOL]}
    if family.call is None:
        with pytest.raises(UserError, match=r"(?s)a.jsonl, line 1.*training.chat_template_path"):
            texts(family, row)
        return
    _, whole, learned, report = texts(family, row)
    # Harmony calls outside its final channel.
    before = "" if family.call_end else family.before
    call = f"{before}{family.call}{family.call_end or family.end}"
    assert "".join(learned) == call + said(family, ANSWER["content"])
    assert "sunny" in whole[-1]
    # The call names the tool, so the name alone does not tell.
    assert ("a forecast" not in whole[0]) == family.tools_left_out
    assert bool(report.tools_left_out) == family.tools_left_out


def test_odd_conversations_are_learned_or_refused_with_line_and_way_out(family):
    empty = {"role": "assistant", "content": ""}
    with pytest.raises(UserError, match=r"line 1: assistant turn 1 is empty; .*`weight: 0`"):
        texts(family, {"messages": [GREETING, empty, *TALK[2:]]})
    row = {"messages": [GREETING, empty | {"weight": 0}, *TALK[2:]]}
    assert texts(family, row)[2] == [said(family, ANSWER["content"])]
    with pytest.raises(UserError, match="none of the 1 rows is left: 1 with nothing to learn"):
        texts(family, {"messages": [GREETING, GREETED | {"weight": 0}]})
    if family.system:
        row = {"messages": [SYSTEM | {"content": ""}, *TALK[:2]]}
        assert texts(family, row)[2] == [said(family, GREETED["content"])]
    row = {"messages": [GREETING, GREETED, ANSWER]}
    if family.twice:
        learned = "".join(texts(family, row)[2])
        assert learned == said(family, GREETED["content"]) + said(family, ANSWER["content"])
    else:
        with pytest.raises(UserError, match=r"(?s)a.jsonl, line 1.*chat_template_path"):
            texts(family, row)
