"""Conversations of every shape become the same canonical messages."""

import json

import pytest

from otr.errors import UserError
from otr.rows import Row
from otr.training.columns import columns
from otr.training.config import Data
from otr.training.conversation import conversation

CALL = {
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Paris", "unit": None}},
}
BARE = json.dumps(CALL["function"])
TOOL = {"name": "get_weather", "description": "", "parameters": {"type": "object"}}
CANONICAL = (
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "reasoning_content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
)


def made(values, **settings):
    row = Row(values, "a.jsonl, line 1")
    data = Data(train="a.jsonl", **settings)
    return conversation(row, columns([row], data), data)


def roles(*names):
    """The canonical conversation with its roles under other names."""
    return [m | {"role": name} for m, name in zip(CANONICAL, names, strict=True)]


PARTS = [
    {"role": "system", "content": [{"type": "text", "value": "Be short."}]},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Wea"}, {"type": "text", "text": "ther?"}],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "reasoning", "value": "I look."},
            {"type": "tool_call", "value": BARE},
        ],
    },
    {"role": "tool", "content": [{"type": "text", "value": "sunny"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "It is sunny."}]},
]
OPENAI = [
    *CANONICAL[:2],
    {
        "role": "assistant",
        "content": None,
        "thinking": "I look.",
        "tool_calls": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "arguments": json.dumps(CALL["function"]["arguments"]),
                },
            }
        ],
    },
    *CANONICAL[3:],
]


@pytest.mark.parametrize(
    "values",
    [
        {"messages": list(CANONICAL)},
        {"messages": json.dumps(CANONICAL)},
        {"messages": roles("developer", "human", "gpt", "observation", "model")},
        {"messages": roles("System", "USER", "bot", "ipython", "assistant")},
        {"messages": PARTS},
        {"messages": OPENAI},
        {"messages": list(CANONICAL[1:]), "system": "Be short."},
        {"prompt": list(CANONICAL[:2]), "completion": list(CANONICAL[2:])},
    ],
    ids=["itself", "json", "names", "letter case", "parts", "openai", "system column", "pairs"],
)
def test_every_shape_becomes_the_canonical_messages(values):
    assert made(values).messages == CANONICAL


def test_sharegpt_turns_and_json_tools_become_openai_ones():
    found = made(
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {"from": "function_call", "value": BARE},
                {"from": "observation", "value": "sunny"},
                {"from": "gpt", "value": "It is sunny."},
            ],
            "tools": json.dumps([TOOL]),
        }
    )
    call = {key: CANONICAL[2][key] for key in ("role", "content", "tool_calls")}
    assert found.messages == (CANONICAL[1], call, *CANONICAL[3:])
    assert found.tools == ({"type": "function", "function": TOOL},)
    assert found.supervised == (1, 3)


def test_ms_swifts_calls_and_responses_are_assistant_and_tool_turns():
    turns = [
        CANONICAL[1],
        {"role": "tool_call", "content": BARE},
        {"role": "tool_response", "content": "sunny"},
        CANONICAL[4],
    ]
    call = {key: CANONICAL[2][key] for key in ("role", "content", "tool_calls")}
    found = made({"messages": turns, "tools": json.dumps([TOOL])})
    assert found.messages == (CANONICAL[1], call, *CANONICAL[3:])
    assert found.supervised == (1, 3)


@pytest.mark.parametrize("tools", [None, "", " ", "[]", "null", []])
def test_no_tools_may_be_written_in_many_ways(tools):
    values = {"messages": list(CANONICAL), "tools": tools}
    assert made(values).tools == ()


def test_openai_tools_stay_as_they_are():
    tool = {"type": "function", "function": TOOL}
    assert made({"messages": list(CANONICAL), "tools": [tool]}).tools == (tool,)


@pytest.mark.parametrize(
    ("first", "second", "supervise", "supervised"),
    [
        ({}, {}, "all", (1, 3)),
        ({}, {}, "last", (3,)),
        ({"loss_weight": 0.0}, {"loss_weight": 1.0}, "all", (3,)),
        ({"weight": 1}, {"weight": 0}, "last", (1,)),
        ({"train": False}, {}, "all", (3,)),
        ({"training": True}, {}, "last", (1, 3)),
        ({"loss": False}, {"loss": True}, "all", (3,)),
        ({"masked": True}, {"masked": False}, "all", (3,)),
        ({"weight": None}, {"weight": 0}, "all", (1,)),
        ({"weight": 0}, {"weight": 0}, "all", ()),
    ],
)
def test_turns_follow_what_they_state_and_the_others_follow_supervise(
    first, second, supervise, supervised
):
    user = {"role": "user", "content": "Hi", "loss_weight": 0}
    turns = [user, {"role": "assistant", "content": "a"} | first]
    turns += [user, {"role": "assistant", "content": "b"} | second]
    assert made({"messages": turns}, supervise=supervise).supervised == supervised


def test_only_the_completion_of_prompt_and_completion_is_learned():
    prompt = [CANONICAL[1], {"role": "assistant", "content": "An example."}, CANONICAL[1]]
    found = made({"prompt": prompt, "completion": [CANONICAL[4]]})
    assert found.supervised == (3,)


def test_parts_that_no_template_could_render_in_order_are_refused():
    parts = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}]
    turns = [CANONICAL[1], {"role": "assistant", "content": parts}]
    with pytest.raises(UserError, match="line 1, message 2: a reasoning part after a text part"):
        made({"messages": turns})


def test_an_unsupervised_empty_answer_is_no_mistake():
    turns = [CANONICAL[1], {"role": "assistant", "content": "", "weight": 0}]
    turns += [CANONICAL[1], CANONICAL[4]]
    assert made({"messages": turns}).supervised == (3,)
