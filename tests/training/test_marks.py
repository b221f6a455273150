"""What data mark as not to be learned is not learned, whoever's mark it is."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from otr.errors import UserError
from otr.rows import Row, read_rows
from otr.training.audit import audit
from otr.training.config import Data
from otr.training.tokens import tokenized_dataset

from . import chat_models
from .chat_models import byte_level, metaspace
from .examples import learned, tokenized

END = "<|im_end|>"


def turns(first, second):
    """Two answers, each with marks of its own."""
    user = {"role": "user", "content": "Hi"}
    answers = ({"role": "assistant", "content": text} for text in ("Wrong.", "Right."))
    wrong, right = (answer | marks for answer, marks in zip(answers, (first, second), strict=True))
    return [user, wrong, user, right]


def in_parts(messages, key="text"):
    """Contents that are text, as a part each."""
    return [
        turn | {"content": [{"type": "text", key: turn["content"]}]}
        if isinstance(turn["content"], str)
        else turn
        for turn in messages
    ]


# Rows in the form of each trainer's files, and what is learned of them.
AXOLOTL = [
    {"from": "system", "value": "You are an assistant.", "train": False},
    {"from": "human", "value": "Hello", "train": False},
    {"from": "gpt", "value": "Hello!", "train": True},
    {"from": "human", "value": "How are you?", "train": False},
    {
        "from": "gpt",
        "value": "I'm doing very well, thank you!",
        "train_detail": [
            {"begin_offset": 0, "end_offset": 8, "train": False},
            {"begin_offset": 9, "end_offset": 18, "train": True},
            {"begin_offset": 19, "end_offset": 30, "train": False},
        ],
    },
    {"from": "human", "value": "Bye", "train": False},
    {"from": "gpt", "value": "Bye.", "train": False},
]
FILES = {
    "verl": ({"messages": turns({"loss_mask": 0}, {"loss_mask": 1})}, f"Right.{END}"),
    "LLaMA-Factory": (
        {
            "messages": in_parts(turns({"loss_weight": 0.0}, {"loss_weight": 1.0}), "value"),
        },
        f"Right.{END}",
    ),
    "LLaMA-Factory, mask": ({"messages": turns({"loss_mask": 0}, {})}, f"Right.{END}"),
    "ms-swift": ({"messages": turns({"loss": False}, {"loss": True})}, f"Right.{END}"),
    "ms-swift, scale": (
        {"messages": turns({"loss_scale": 0.0}, {"loss_scale": 1.0})},
        f"Right.{END}",
    ),
    "axolotl": ({"conversations": AXOLOTL}, f"Hello!{END} very well{END}"),
    "axolotl, parts": (
        {
            "messages": in_parts(
                turns(
                    {"train": False},
                    {
                        "content": [
                            {"type": "text", "text": "Guess:", "train": False},
                            {"type": "text", "text": " right."},
                        ]
                    },
                )
            )
        },
        f" right.{END}",
    ),
    "axolotl, weights of parts": (
        {
            "messages": in_parts(
                turns(
                    {"content": [{"type": "text", "text": "Wrong.", "weight": 0}]},
                    {"content": [{"type": "text", "text": "Right.", "weight": 1}]},
                )
            )
        },
        f"Right.{END}",
    ),
    "OpenAI": ({"messages": turns({"weight": 0}, {"weight": 1})}, f"Right.{END}"),
    "torchtune": ({"messages": turns({"masked": True}, {"masked": False})}, f"Right.{END}"),
    "mask": ({"messages": turns({"mask": True}, {})}, f"Right.{END}"),
    "train_on_turn": ({"messages": turns({"train_on_turn": False}, {})}, f"Right.{END}"),
    "trainable": ({"messages": turns({"trainable": False}, {})}, f"Right.{END}"),
    "NeMo": ({"mask": "User", "conversations": turns({}, {})}, f"Wrong.{END}Right.{END}"),
}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("template", [chat_models.PLAIN, chat_models.MARKED])
@pytest.mark.parametrize("trainer", FILES)
def test_files_of_other_trainers_are_learned_as_their_marks_say(
    trainer, template, ending, tmp_path
):
    row, expected = FILES[trainer]
    path = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        path.write_text(json.dumps(row))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    tokenizer = byte_level(template)
    dataset, report = tokenized_dataset(read_rows(str(path)), Data(train=str(path)), tokenizer)
    (example,) = dataset.to_list()
    assert tokenizer.decode([label for label in example["labels"] if label >= 0]) == expected
    assert audit(dataset, report, tokenizer).problems == ()
    # What is left out changes no token of the text.
    plain = json.loads(json.dumps(row), object_hook=without_marks)
    (whole, _), *_ = tokenized([plain], tokenizer)[0]
    assert example["input_ids"] == whole[: len(example["input_ids"])]


def without_marks(values):
    names = ("train", "train_detail", "weight", "loss_mask", "loss_scale", "loss_weight", "loss")
    return {key: value for key, value in values.items() if key not in names}


PARTS = [
    {"type": "thinking", "thinking": "Not for you.", "train": False},
    {"type": "text", "text": "Left out ", "train": False},
    {"type": "text", "text": "é☃ kept"},
]


def llama_like():
    """A tokenizer that puts a blank before every text and takes it off what it decodes."""
    tokenizer = metaspace()
    tokenizer.chat_template = chat_models.PLAIN.replace("<|im_end|>", "</s>")
    return tokenizer


@pytest.mark.parametrize("make", [lambda: byte_level(chat_models.PLAIN), llama_like])
def test_no_token_that_holds_some_of_a_part_that_is_left_out_is_learned(make):
    tokenizer = make()
    (text,) = learned([{"messages": turns({"weight": 0}, {"content": PARTS})}], tokenizer)
    assert not any(word in text for word in ("Not", "for", "you", "Left", "out"))
    assert text.endswith(f"kept{tokenizer.eos_token}") and "</think>" in text


def test_a_blank_that_is_left_out_does_not_take_the_word_it_is_joined_to():
    tokenizer = byte_level(chat_models.PLAIN)
    (word,) = tokenizer.encode(" weather", add_special_tokens=False)
    for left_out, kept in (("The ", "weather"), ("The", " weather"), ("The sunny ", "weather")):
        parts = [
            {"type": "text", "text": left_out, "train": False},
            {"type": "text", "text": f"{kept} is"},
        ]
        row = {"messages": turns({"weight": 0}, {"content": parts})}
        ((_, ids),) = tokenized([row], tokenizer)[0]
        assert ids[0] == word and tokenizer.decode(ids) == f" weather is{END}"
    # A word that is left out takes the token with it.
    parts = [{"text": "The wea", "train": False}, {"text": "ther is"}]
    row = {"messages": turns({"weight": 0}, {"content": parts})}
    assert learned([row], tokenizer) == [f" is{END}"]
    # Blanks that have a token of their own are left out.
    parts = [{"text": "The", "train": True}, {"text": "\n\n", "train": False}, {"text": "weather"}]
    row = {"messages": turns({"weight": 0}, {"content": parts})}
    assert learned([row], tokenizer) == [f"Theweather{END}"]


def test_blanks_that_a_template_strips_do_not_shift_what_is_left_out():
    parts = [
        {"type": "text", "text": "\n Left out", "train": False},
        {"type": "text", "text": "\nkept \n"},
    ]
    row = {"messages": turns({"weight": 0}, {"content": parts})}
    assert learned([row], byte_level(chat_models.HEADERS)) == ["\nkept<|eot_id|>"]


def test_a_text_that_stands_twice_in_a_turn_is_left_out_at_its_own_place():
    parts = [
        {"type": "thinking", "thinking": "five"},
        {"type": "text", "text": "five", "train": False},
        {"type": "text", "text": "\nso five"},
    ]
    row = {"messages": turns({"weight": 0}, {"content": parts})}
    (text,) = learned([row], byte_level(chat_models.PLAIN))
    assert text == f"<think>\nfive\n</think>\n\n\nso five{END}"


def detail(begin, end, train=True):
    return {"train_detail": [{"begin_offset": begin, "end_offset": end, "train": train}]}


CALL = {"name": "f", "arguments": {}}
UNFOLLOWABLE = {
    "fraction": ({"loss_weight": 0.5}, "message 4: loss_weight is 0.5"),
    "fraction of a scale": ({"loss_scale": 2.0}, "message 4: loss_scale is 2.0"),
    "list": ({"loss_mask": [0, 1]}, r"message 4: loss_mask is \[0, 1\]"),
    "mask as a number": ({"mask": 1}, "message 4: mask is 1, which may mean learned or left out"),
    "contradiction": ({"loss_mask": 1, "train": False}, "train and loss_mask contradict"),
    "part against turn": (
        {"train": False, "content": [{"type": "text", "text": "a", "train": True}]},
        "a part of it says that it is learned",
    ),
    "fraction of a part": (
        {"content": [{"type": "text", "text": "a", "weight": 0.5}]},
        "message 4, a part of type 'text': weight is 0.5",
    ),
    "offsets beyond the text": (detail(0, 6), "from 0 to 5"),
    "offsets backwards": (detail(3, 2), "begin_offset and end_offset"),
    "offsets without train": ({"train_detail": [{"begin_offset": 0, "end_offset": 1}]}, "train"),
    "offsets no list": ({"train_detail": True}, "give a list of objects"),
    "offsets and reasoning": (detail(0, 1) | {"reasoning": "a"}, "say nothing of parts"),
    "call in a turn": ({"tool_calls": [CALL | {"weight": 0}]}, "a tool call is marked"),
    "call as a part": (
        {"content": [{"type": "tool_call", "value": json.dumps(CALL), "train": False}]},
        "a tool call is marked",
    ),
}


@pytest.mark.parametrize("case", UNFOLLOWABLE)
def test_a_mark_that_cannot_be_followed_is_refused_with_row_and_message(case):
    marks, said = UNFOLLOWABLE[case]
    with pytest.raises(UserError, match=f"a.jsonl, line 1, message 4.*{said}|{said}") as caught:
        learned([{"messages": turns({}, marks)}], byte_level(chat_models.PLAIN))
    assert "a.jsonl, line 1, message 4" in str(caught.value)


def test_a_part_of_a_turn_that_the_template_rewrites_is_refused():
    shouting = chat_models.PLAIN.replace("{{ message.content }}", "{{ message.content | upper }}")
    parts = [{"type": "text", "text": "a", "train": False}, {"type": "text", "text": "b"}]
    with pytest.raises(UserError, match="message 4: .* does not render its text as it stands"):
        learned([{"messages": turns({"weight": 0}, {"content": parts})}], byte_level(shouting))


@pytest.mark.parametrize("mark", [{"train": True}, {"content": [{"text": "a", "train": True}]}])
def test_a_mark_that_asks_to_learn_a_user_turn_is_refused(mark):
    row = {"messages": [{"role": "user", "content": "a"} | mark, *turns({}, {})]}
    with pytest.raises(UserError, match="message 1: asks to learn a user turn"):
        learned([row], byte_level(chat_models.PLAIN))


def audited(rows, **settings):
    rows = [Row(values, f"a.jsonl, line {i}") for i, values in enumerate(rows, start=1)]
    tokenizer = byte_level(chat_models.PLAIN)
    dataset, report = tokenized_dataset(rows, Data(train="a.jsonl", **settings), tokenizer)
    return audit(dataset, report, tokenizer)


def test_every_key_that_is_not_read_is_named_with_its_rows():
    call = {"id": "1", "type": "function", "index": 0, "function": CALL | {"strict": True}}
    marks = {
        "name": "Bob",
        "refusal": None,
        "annotations": [],
        "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        "tool_calls": [call],
    }
    rows = [{"messages": turns({}, {})}, *[{"messages": turns({}, marks)}] * 2]
    found = audited(rows)
    assert found.problems == ()
    unread = [note for note in found.notes if "is not read" in note]
    where = "is not read, in 2 rows (first: a.jsonl, line 2)"
    assert unread == [
        f"'cache_control' of a content part {where}",
        f"'index' of a tool call {where}",
        f"'strict' of a tool call {where}",
        f"'name' of a turn {where}",
    ]
    assert set(unread) <= set(found.as_json()["notes"])


@pytest.mark.parametrize("owner", ["turn", "content part", "tool call", "row"])
def test_a_key_that_is_named_like_a_mark_is_a_problem_unless_it_is_ignored(owner):
    unknown = {"token_loss_masks": "x"}
    row = {
        "turn": {"messages": turns({}, unknown)},
        "content part": {"messages": turns({}, {"content": [{"text": "a"} | unknown]})},
        "tool call": {"messages": turns({}, {"tool_calls": [CALL | unknown]})},
        "row": {"messages": turns({}, {})} | unknown,
    }[owner]
    (problem,) = audited([row]).problems
    assert f"'token_loss_masks' of a {owner} is not read, in 1 row (first: a.jsonl" in problem
    if owner in ("turn", "row"):
        assert audited([row], ignore=["token_loss_masks"]).problems == ()


PAIR = {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    "mark",
    [
        {"weight": 0},
        {"sample_weight": 0.0},
        {"loss_mask": 0},
        {"loss_weight": "0"},
        {"train": False},
        {"loss": False},
        {"mask": True},
        {"masked": "True"},
    ],
)
@pytest.mark.parametrize("row", [PAIR, {"messages": turns({}, {})}, {"text": "a"}])
def test_a_row_whose_column_says_so_is_left_out(row, mark):
    found = audited([row, row | mark, row | dict.fromkeys(mark)])
    assert found.report.masked == ("a.jsonl, line 2",) and found.report.num_examples == 2
    assert found.problems == ()
    assert (
        "1 example: left out, since a column marks it as not learned (first: a.jsonl, line 2)"
        in (found.notes)
    )
    assert not any("columns not used" in note for note in found.notes)
    ignored = audited([row, row | mark], ignore=list(mark))
    assert ignored.report.num_examples == 2 and ignored.report.masked == ()


@pytest.mark.parametrize(
    "values", [{"loss": 0.37}, {"weight": "75 kg"}, {"train": "split 1"}, {"mask": "User"}]
)
def test_a_column_that_merely_has_a_marks_name_leaves_no_row_out(values):
    found = audited([PAIR | values, PAIR])
    assert found.report.num_examples == 2 and found.problems == ()
    assert found.report.ignored_columns == (tuple(values))


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"weight": 0.5}, "column 'weight': weight is 0.5"),
        ({"weight": "2"}, "column 'weight': weight is 2.0"),
        ({"sample_weight": 3}, "sample_weight is 3"),
        ({"loss_mask": [0, 1, 1]}, "column 'loss_mask': a mask of 3 values"),
        ({"completion_mask": [0, 1]}, "column 'completion_mask': a mask of 2 values"),
        ({"assistant_masks": [0, 1]}, "column 'assistant_masks': a mask of 2 values"),
        ({"weight": 1, "masked": True}, "contradict each other"),
    ],
)
def test_a_weight_or_mask_of_a_row_that_cannot_be_followed_is_refused_with_the_line(mark, said):
    with pytest.raises(UserError) as caught:
        audited([PAIR, PAIR | mark])
    message = str(caught.value)
    assert message.startswith("a.jsonl, line 2, column ") and said in message
    assert f"data.ignore: [{', '.join(mark)}]" in message
    assert audited([PAIR, PAIR | mark], ignore=list(mark)).report.num_examples == 2


@pytest.mark.parametrize("row", [PAIR, {"messages": turns({}, {})}])
@pytest.mark.parametrize("mark", [{"label": False}, {"kto_tag": False}, {"label": "False"}])
def test_bad_answers_of_kto_files_are_a_problem(row, mark):
    good = row | {name: True for name in mark}
    (problem,) = audited([good, row | mark]).problems
    assert problem.startswith("1 example: ") and "(first: a.jsonl, line 2)" in problem
    assert audited([row | mark], ignore=list(mark)).problems == ()
    assert audited([{"text": "a"} | mark]).problems == ()


@pytest.mark.parametrize("context", [{"history": [["q", "a"]]}, {"system": "Be brief."}])
def test_context_of_alpaca_files_that_is_not_read_is_a_problem(context):
    row = {"instruction": "a", "input": "", "output": "b"}
    empty = {name: type(value)() for name, value in context.items()}
    (problem,) = audited([row | empty, row | context]).problems
    assert problem.startswith("1 example: ") and "(first: a.jsonl, line 2)" in problem
    if "system" in context:
        found = audited([row | context], prompt=["system", "instruction"], completion="output")
        assert found.problems == ()
