"""Rows, and the tokens that become of them."""

from otr.rows import Row
from otr.training.config import Data
from otr.training.encoding import IGNORED
from otr.training.tokens import tokenized_dataset

TURNS = [
    {"role": "user", "content": "How many clips?"},
    {"role": "assistant", "content": "The answer is 5.", "reasoning_content": "I count."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "\n\nYes, 5.", "reasoning_content": "I count again."},
]
PLAIN_TURNS = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in TURNS]
TOOL = {"name": "get_weather", "description": "the weather", "parameters": {"type": "object"}}


def tokenized(rows, tokenizer, max_length=None, **settings):
    """Each example as (all ids, learned ids), and the report."""
    rows = [Row(values, f"a.jsonl, line {i}") for i, values in enumerate(rows, start=1)]
    data = Data(train="a.jsonl", **settings)
    dataset, report = tokenized_dataset(rows, data, tokenizer, max_length)
    examples = []
    for example in dataset.to_list():
        pairs = list(zip(example["input_ids"], example["labels"], strict=True))
        assert all(label in (IGNORED, token) for token, label in pairs)
        examples.append(([t for t, _ in pairs], [t for t, label in pairs if label != IGNORED]))
    return examples, report


def learned(rows, tokenizer, **settings):
    """The learned text of each example."""
    examples, _ = tokenized(rows, tokenizer, **settings)
    return [str(tokenizer.decode(ids)) for _, ids in examples]


def whole(rows, tokenizer, **settings):
    """All text of each example."""
    examples, _ = tokenized(rows, tokenizer, **settings)
    return [str(tokenizer.decode(ids)) for ids, _ in examples]
