"""Nulls of nested objects: kept where they are known to be real, counted where they are not."""

import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from otr.rows import read_rows
from otr.training.audit import audit
from otr.training.config import Data
from otr.training.tokens import tokenized_dataset

from .training import chat_models
from .training.chat_models import byte_level

TOOL = {"name": "f", "parameters": {"properties": {"a": {"type": "string", "default": None}}}}
CALL = {"name": "f", "arguments": {"a": None, "b": [1, None]}}
MESSAGES = [
    {"role": "user", "content": "Hi", "tool_calls": None},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
]
ROW = {"messages": MESSAGES, "tools": [TOOL]}
AS_TEXT = {
    "messages": [MESSAGES[0], MESSAGES[1] | {"tool_calls": json.dumps([CALL])}],
    "tools": json.dumps([TOOL]),
}
NULLS = {"tools.parameters.properties.a.default", "messages.tool_calls.arguments.a"}


def text_and_notes(path):
    tokenizer = byte_level(chat_models.PLAIN)
    rows = read_rows(str(path))
    dataset, report = tokenized_dataset(rows, Data(train=str(path)), tokenizer)
    found = audit(dataset, report, tokenizer)
    return tokenizer.decode(dataset[0]["input_ids"]), found.notes


def test_jsonl_keeps_a_real_null(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW))
    text, notes = text_and_notes(tmp_path / "a.jsonl")
    assert '"default": null' in text and '{"a": null, "b": [1, null]}' in text
    assert notes == ()


def test_parquet_leaves_out_nulls_that_may_be_missing_fields_and_counts_the_rows(tmp_path):
    path = tmp_path / "a.parquet"
    without = {"messages": [MESSAGES[0], {"role": "assistant", "content": "Hello."}], "tools": None}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW, without, ROW]), path)
    assert NULLS <= read_rows(str(path))[0].nulls_left_out
    text, notes = text_and_notes(path)
    assert "null}" not in text
    (note,) = [note for note in notes if "nulls in tools or arguments" in note]
    assert note.startswith("2 examples: ") and f"(first: {path}, row 1)" in note


def test_null_fields_of_turns_alone_are_no_note(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "a", "weight": 1},
            ]
        }
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert text_and_notes(path)[1] == ()


def written_as_text(path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([AS_TEXT]), path / "a.parquet")
    return path / "a.parquet"


def typed():
    # What the datasets library makes of objects whose fields differ.
    json_list = datasets.List(datasets.Json())
    text = datasets.Value("string")
    turn = {"role": text, "content": text, "tool_calls": json_list}
    features = datasets.Features({"messages": datasets.List(turn), "tools": json_list})
    return datasets.Dataset.from_list([ROW], features=features)


def parquet_of_datasets(path):
    typed().to_parquet(str(path / "a.parquet"))
    return path / "a.parquet"


def saved_by_datasets(path):
    typed().save_to_disk(str(path / "saved"))
    return path / "saved"


@pytest.mark.skipif(not hasattr(datasets, "Json"), reason="this release of datasets has no Json")
@pytest.mark.parametrize("write", [written_as_text, parquet_of_datasets, saved_by_datasets])
def test_tools_and_arguments_as_json_are_learned_as_from_jsonl(write, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW))
    expected = text_and_notes(tmp_path / "a.jsonl")
    assert text_and_notes(write(tmp_path)) == expected


@pytest.mark.skipif(not hasattr(datasets, "Json"), reason="this release of datasets has no Json")
def test_a_json_field_within_an_object_is_decoded(tmp_path):
    features = datasets.Features({"a": {"b": datasets.Json(), "c": datasets.Value("string")}})
    values = {"a": {"b": {"x": None}, "c": "{}"}}
    dataset = datasets.Dataset.from_list([values], features=features)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    (row,) = read_rows(str(tmp_path / "a.parquet"))
    assert row.values == values and row.nulls_left_out == frozenset()


def test_text_that_is_no_json_stays_text(tmp_path):
    features = {"features": {"a": {"_type": "Json", "decode": True}}}
    metadata = {b"huggingface": json.dumps({"info": features}).encode()}
    table = pyarrow.Table.from_pylist([{"a": "{"}, {"a": '{"b": null}'}])
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    rows = read_rows(str(tmp_path / "a.parquet"))
    assert [row.values["a"] for row in rows] == ["{", {"b": None}]
    odd = table.replace_schema_metadata({b"huggingface": b"[1"})
    pyarrow.parquet.write_table(odd, tmp_path / "a.parquet")
    assert read_rows(str(tmp_path / "a.parquet"))[0].values == {"a": "{"}
