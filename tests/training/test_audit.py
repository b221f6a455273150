"""The audit says what the data loses, and nothing in the data can touch the terminal."""

import pytest

from otr.demo.tokenizer import CHAT_TEMPLATE
from otr.rows import Row, read_rows
from otr.terminal import visible
from otr.training.audit import audit, audit_lines
from otr.training.config import Data
from otr.training.tokens import tokenized_dataset

from . import chat_models
from .chat_models import DATA, byte_level


def audited(rows, tokenizer, max_length=None, **settings):
    rows = [Row(values, f"a.jsonl, line {i}") for i, values in enumerate(rows, start=1)]
    data = Data(train="a.jsonl", **settings)
    dataset, report = tokenized_dataset(rows, data, tokenizer, max_length)
    return audit(dataset, report, tokenizer)


PAIRS = [{"prompt": "a" * i, "completion": "b"} for i in range(1, 101)]


def test_lengths_are_those_of_examples_before_any_cut():
    found = audited(PAIRS, byte_level(), 50, overlong="truncate")
    lengths = found.report.lengths
    assert found.quantiles[0] == min(lengths) and found.quantiles[-1] == max(lengths)
    assert set(found.quantiles) <= set(lengths)
    assert found.quantiles[2] in (sorted(lengths)[49], sorted(lengths)[50])
    # The prompt's letters, the separator, the answer and the end token.
    tokenizer = byte_level()
    assert max(lengths) == len(tokenizer("a" * 100)["input_ids"]) + 3


def test_clean_data_has_no_problems():
    found = audited(PAIRS, byte_level())
    assert found.problems == () and found.notes == ()
    lines = audit_lines(found)
    assert any("100 of completion, 100 examples" in line for line in lines)
    assert any("<|endoftext|> ends 100 examples" in line for line in lines)


PROBLEMS = {
    "lost an answer": (PAIRS[-1:] + PAIRS[:1], None, 5),
    "lost the end token": ([{"prompt": "a", "completion": "0123456789"}], None, 5),
    "nothing to learn": (
        [
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "weight": 0},
                ]
            },
        ],
        chat_models.PLAIN,
        None,
    ),
    "no end token": (
        [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
        chat_models.ENDLESS,
        None,
    ),
    "leaves out the reasoning": (
        [
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "reasoning_content": "because"},
                ]
            }
        ],
        chat_models.ENDLESS,
        None,
    ),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_would_be_lost_is_a_problem_that_names_the_first_row(problem):
    rows, template, max_length = PROBLEMS[problem]
    found = audited(rows, byte_level(template), max_length, overlong="truncate")
    said = [line for line in found.problems if problem in line]
    assert len(said) == 1 and "(first: a.jsonl, line " in said[0]
    assert any(line.startswith("PROBLEM") and said[0] in line for line in audit_lines(found))


def test_what_was_asked_for_is_a_note():
    rows = [*PAIRS[:3], PAIRS[0], {**PAIRS[50], "id": "x"}]
    found = audited(rows, byte_level(pad="<|endoftext|>"), 10, overlong="drop")
    assert found.problems == ()
    assert found.notes == (
        "1 example: dropped, longer than training.max_length=10 (first: a.jsonl, line 5)",
        "1 example: exact copy of an earlier one, kept (first: a.jsonl, line 4)",
        "columns not used: id",
        "padding is the end token; the end token is learned all the same",
    )


def test_an_end_of_turn_that_is_not_the_tokenizers_end_is_noted():
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    tokenizer = byte_level(chat_models.PLAIN)
    assert audited(rows, tokenizer).notes == ()
    tokenizer.eos_token = "<|endoftext|>"
    (note,) = audited(rows, tokenizer).notes
    assert "1 end with <|im_end|>, while the tokenizer's end token is <|endoftext|>" in note


def test_the_first_example_shows_what_is_learned():
    rows = [{"prompt": "Add:\n2 + 3", "completion": "It is\n5", "extra": 1}]
    lines = audit_lines(audited(rows, byte_level(), separator=" "))
    assert lines[-4:] == [
        r"      | Add:\n",
        r"      | 2 + 3",
        r"learn |  It is\n",
        r"learn | 5<|endoftext|>",
    ]


def test_colour_marks_the_learned_lines_alone():
    found = audited([{"prompt": "a", "completion": "b"}], byte_level())
    coloured = audit_lines(found, colour=True)
    plain = audit_lines(found)
    changed = [i for i, (a, b) in enumerate(zip(coloured, plain, strict=True)) if a != b]
    assert [plain[i] for i in changed] == ["learn | b<|endoftext|>"]
    assert coloured[changed[0]] == "\033[32mlearn | b<|endoftext|>\033[0m"


def test_nothing_in_the_data_can_drive_the_terminal():
    nasty = "\x1b[2J\x07\r\x9b31m\u202e\u2028\x00\u200b\x1c"
    rows = [
        Row({"prompt": f"a{nasty}", "completion": f"b{nasty}", f"c{nasty}": 1}, f"f{nasty}")
    ] * 2
    tokenizer = byte_level()
    dataset, report = tokenized_dataset(rows, Data(train="a"), tokenizer)
    lines = audit_lines(audit(dataset, report, tokenizer))
    assert all(line.isprintable() for line in lines)
    assert any(r"learn | b\x1b[2J\x07\r" in line for line in lines)
    assert visible("é 日本 \\n") == "é 日本 \\n"


def test_long_examples_show_their_beginning_and_their_end():
    prompt = "\n".join(f"line {i}" for i in range(500)) + "x" * 5000
    lines = audit_lines(audited([{"prompt": prompt, "completion": "the end"}], byte_level()))
    assert len(lines) < 60 and max(map(len, lines)) < 220
    assert any("line 0" in line for line in lines) and "the end" in lines[-1]
    assert any("lines more" in line for line in lines)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
def test_real_conversations_are_audited():
    rows = read_rows(str(DATA / "chat/reason_tool_use_demo_50.jsonl"))
    tokenizer = byte_level(chat_models.FORGETFUL)
    rows = [row for row in rows if '"tool"' not in repr(row.values).replace("'", '"')]
    dataset, report = tokenized_dataset(rows, Data(train="a"), tokenizer)
    found = audit(dataset, report, tokenizer)
    # This template has no place for tools.
    assert len(found.problems) == 1 and "leaves out tools" in found.problems[0]
    assert all(line.isprintable() for line in audit_lines(found))


@pytest.mark.parametrize(
    ("row", "template", "is_noted"),
    [
        (PAIRS[0], chat_models.PLAIN, True),
        (PAIRS[0], None, False),
        (PAIRS[0], CHAT_TEMPLATE, False),
        ({"text": "a"}, chat_models.PLAIN, False),
        # Rendered by somebody already.
        (
            {"prompt": "<|im_start|>user\na<|im_end|>\n", "completion": "b"},
            chat_models.PLAIN,
            False,
        ),
    ],
    ids=["plain", "no template", "embedded", "text", "rendered"],
)
def test_plain_rows_for_a_chat_model_are_noted_with_the_way_to_use_its_template(
    row, template, is_noted
):
    tokenizer = byte_level(chat_models.PLAIN)
    tokenizer.chat_template = template
    said = [note for note in audited([row], tokenizer).notes if "chat template" in note]
    assert len(said) == is_noted and all("write conversations" in note for note in said)
