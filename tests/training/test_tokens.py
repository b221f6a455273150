"""Tokens and labels: what is learned is exactly the answers and their end."""

import random

import pytest

from otr.errors import UserError
from otr.training.encoding import Encoder

from . import chat_models
from .chat_models import byte_level, metaspace
from .examples import PLAIN_TURNS, learned, tokenized, whole


@pytest.mark.parametrize("tokenizer", [byte_level(), metaspace()], ids=["bytes", "metaspace"])
def test_prompts_are_the_tokens_that_generation_sees(tokenizer):
    draw = random.Random(0)
    words = ["clips", " ", "\n", "\n\n", "5", ".", "é", "the answer", "\t", "{", "日本"]
    for _ in range(200):
        prompt = "Q" + "".join(draw.choices(words, k=draw.randrange(6)))
        completion = "".join(draw.choices(words, k=draw.randrange(6))) + "A"
        separator = draw.choice(["", " ", "\n", "\n\n"])
        rows = [{"prompt": prompt, "completion": completion}]
        ((ids, answer),), _ = tokenized(rows, tokenizer, separator=separator)
        # A prompt is given without the blanks at its end, which are the answer's.
        assert ids == tokenizer((prompt + separator).rstrip(" "))["input_ids"] + answer
        assert answer[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in answer[:-1]
        # Alone, Metaspace loses a first blank; the whole text has to come back.
        text = tokenizer.decode(ids[len(Encoder(tokenizer).begin) : -1])
        assert text == prompt + separator + completion


def test_an_answer_has_the_tokens_it_would_have_within_the_text():
    for tokenizer in (byte_level(), metaspace()):
        rows = [{"prompt": "How many did she sell?", "completion": "The answer is 72"}]
        ((ids, _),), _ = tokenized(rows, tokenizer)
        text = "How many did she sell?\nThe answer is 72"
        assert ids[:-1] == tokenizer(text)["input_ids"]


def test_prompt_columns_are_joined_by_a_blank_line_and_empty_ones_left_out():
    tokenizer = byte_level()
    rows = [
        {"instruction": "Add.", "input": "2 3", "output": "5"},
        {"instruction": "Say hello.", "input": "", "output": "hello"},
    ]
    assert whole(rows, tokenizer) == [
        "Add.\n\n2 3\n5<|endoftext|>",
        "Say hello.\nhello<|endoftext|>",
    ]
    assert learned(rows, tokenizer) == ["5<|endoftext|>", "hello<|endoftext|>"]


def test_an_end_token_in_the_completion_is_not_doubled():
    rows = [{"prompt": "a", "completion": "b<|endoftext|>"}]
    assert learned(rows, byte_level()) == ["b<|endoftext|>"]


def test_all_of_a_text_is_learned_but_the_begin_token():
    tokenizer = metaspace()
    ((ids, answer),), report = tokenized([{"text": "Hello, what is it?"}], tokenizer)
    assert ids == [*tokenizer("Hello, what is it?")["input_ids"], tokenizer.eos_token_id]
    assert answer == ids[1:]
    assert report.num_supervised == report.num_tokens - 1


@pytest.mark.parametrize("begin", ["<s>", None])
@pytest.mark.parametrize("written", ["<s>", ""])
def test_a_begin_token_is_added_by_the_tokenizers_own_rule_and_never_twice(begin, written):
    tokenizer = byte_level(begin=begin)
    rows = [{"prompt": f"{written}Hello", "completion": "5"}]
    ((ids, _),), report = tokenized(rows, tokenizer)
    expected = 1 if begin or written else 0
    assert ids.count(tokenizer.convert_tokens_to_ids("<s>")) == expected
    assert report.double_begin == ()


def test_the_end_token_is_learned_where_padding_is_the_same_token():
    tokenizer = byte_level(pad="<|endoftext|>")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    ((_, answer),), _ = tokenized([{"prompt": "a", "completion": "b"}], tokenizer)
    assert answer[-1] == tokenizer.eos_token_id


def test_a_tokenizer_without_an_end_token_is_refused():
    tokenizer = byte_level()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end token"):
        tokenized([{"prompt": "a", "completion": "b"}], tokenizer)


def test_answers_the_tokenizer_does_not_know_are_reported():
    tokenizer = metaspace()
    inner = tokenizer.backend_tokenizer.to_str().replace(
        '"byte_fallback":true', '"byte_fallback":false'
    )
    tokenizer._tokenizer = tokenizer.backend_tokenizer.from_str(inner)
    _, report = tokenized([{"prompt": "a", "completion": "日本"}], tokenizer)
    assert report.unknown == ("a.jsonl, line 1",)


def test_a_tokenizer_that_does_not_keep_the_text_is_refused():
    from tokenizers import normalizers

    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("5", "6")
    with pytest.raises(
        UserError, match="line 1: the tokens of the answer decode to '6', not to '5'"
    ):
        tokenized([{"prompt": "a", "completion": "5"}], tokenizer)


# Overlong rows


SHORT = {"prompt": "a", "completion": "b"}
LONG = {"prompt": "a", "completion": "0123456789"}


def test_overlong_rows_are_an_error_with_both_ways_out():
    with pytest.raises(UserError) as caught:
        tokenized([SHORT, LONG], byte_level(), max_length=6)
    message = str(caught.value)
    assert "1 of 2 examples are longer than training.max_length=6" in message
    assert "13 tokens (a.jsonl, line 2)" in message
    assert "Raise training.max_length" in message and "`drop`" in message


def test_a_row_as_long_as_the_limit_is_kept_whole():
    examples, report = tokenized([LONG], byte_level(), max_length=13)
    assert len(examples[0][0]) == 13 and report.overlong == ()


def test_overlong_rows_can_be_dropped():
    examples, report = tokenized([SHORT, LONG], byte_level(), max_length=6, overlong="drop")
    assert len(examples) == 1
    assert report.dropped == report.overlong == ("a.jsonl, line 2",)
    assert report.lengths == (4, 13) and report.num_tokens == 4


def test_what_a_cut_takes_is_counted():
    prompt = {"prompt": "0123456789", "completion": "b"}
    rows = [SHORT, LONG, prompt]
    examples, report = tokenized(rows, byte_level(), max_length=6, overlong="truncate")
    assert [len(ids) for ids, _ in examples] == [4, 6]
    assert report.cut == report.lost_end == ("a.jsonl, line 2", "a.jsonl, line 3")
    assert report.lost_answer == report.unsupervised == ("a.jsonl, line 3",)
    assert report.without_end == ()
    assert report.end_tokens == {"<|endoftext|>": 1}


def test_a_cut_at_the_start_of_an_answer_loses_all_of_it():
    tokenizer = byte_level()
    start = len(tokenizer("0123456789\n")["input_ids"])
    rows = [SHORT, {"prompt": "0123456789", "completion": "bcd"}]
    _, report = tokenized(rows, tokenizer, max_length=start, overlong="truncate")
    assert report.lost_answer == report.unsupervised == ("a.jsonl, line 2",)
    _, report = tokenized(rows, tokenizer, max_length=start + 1, overlong="truncate")
    assert report.lost_answer == report.unsupervised == ()
    assert report.lost_end == ("a.jsonl, line 2",)


def test_a_cut_after_the_answers_loses_nothing():
    tokenizer = byte_level(chat_models.PLAIN)
    rows = [{"messages": PLAIN_TURNS[:2]}]
    ((ids, answer),), _ = tokenized(rows, tokenizer)
    # The line break after the end of the turn is not learned.
    cut, report = tokenized(rows, tokenizer, max_length=len(ids) - 1, overlong="truncate")
    assert cut[0][1] == answer
    assert report.cut and not report.lost_end and not report.lost_answer


def test_an_end_token_that_stands_for_unknown_text_too_still_ends_the_answer():
    tokenizer = byte_level()
    tokenizer.unk_token = tokenizer.eos_token
    rows = [{"question": "How many?", "answer": "Five."}]
    examples, report = tokenized(rows, tokenizer)
    assert examples[0][1][-1] == tokenizer.eos_token_id
    assert report.end_tokens == {"<|endoftext|>": 1} and not report.without_end
