"""Reading rows, and saying which file, line and column is wrong."""

import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from otr.errors import UserError
from otr.rows import Row, read_rows
from otr.training.columns import check_texts, columns
from otr.training.config import Data
from otr.training.conversation import conversation

from .chat_models import DATA

GOOD = '{"prompt": "What is 2 + 3?", "completion": "5"}\n'


def read(path: Path, **settings) -> None:
    """All that happens to the data before a tokenizer sees it."""
    data = Data(train=str(path), **settings)
    rows = read_rows(data.train, limit=data.limit)
    found = columns(rows, data)
    if found.kind == "messages":
        for row in rows:
            conversation(row, found, data)
    else:
        check_texts(rows, found)


def chat(*messages: object, **more: object) -> str:
    return json.dumps({"messages": messages, **more}) + "\n"


USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}

# A file, its content, settings, and what the message must say.
BAD = {
    "not there": ("", None, {}, ["no such file"]),
    "empty": ("a.jsonl", "", {}, ["a.jsonl", "no rows"]),
    "blank lines only": ("a.jsonl", "\n\n", {}, ["no rows"]),
    "empty array": ("a.json", "[]", {}, ["no rows"]),
    "unknown ending": ("a.txt", "hello", {}, ["a.txt", ".jsonl", ".txt"]),
    "not json": ("a.jsonl", GOOD + "\n{oops}\n", {}, ["a.jsonl, line 3", "not valid JSON"]),
    "number line": ("a.jsonl", GOOD + "3\n", {}, ["line 2", "found int"]),
    "array of text": ("a.json", '[{"text": "a"}, "b"]', {}, ["row 2", "found str"]),
    "field twice": ("a.jsonl", '{"text": "a", "text": "b"}', {}, ["line 1", "'text'", "twice"]),
    "nested too deep": ("a.jsonl", "[" * 100_000, {}, ["not valid JSON"]),
    "not utf-8": ("a.jsonl", b'{"text": "\xff"}', {}, ["not UTF-8", "save it as UTF-8"]),
    "half of a pair": ("a.jsonl", '{"text": "\\ud800"}', {}, ["line 1", "'text'", "surrogate"]),
    "null": ("a.jsonl", GOOD + '{"prompt": "a", "completion": null}', {}, ["line 2", "null"]),
    "nan": ("a.jsonl", '{"text": NaN}', {}, ["line 1, column 'text'", "null"]),
    "blank": (
        "a.jsonl",
        GOOD + '{"prompt": "a", "completion": " "}\n{"prompt": "a", "completion": ""}\n' + GOOD,
        {},
        ["line 2, column 'completion'", "only blanks", "2 of the 4 rows"],
    ),
    "missing in one row": ("a.jsonl", GOOD + '{"prompt": "a"}', {}, ["line 2", "'completion'"]),
    "number": ("a.jsonl", '{"question": "a", "answer": 5}', {}, ["line 1", "'answer'", "int '5'"]),
    "column not there": (
        "a.jsonl",
        '{"question": "a", "anwser": "b"}',
        {"prompt": "question", "completion": "answer"},
        ["no column 'answer'", "question, anwser", "did you mean 'anwser'?"],
    ),
    "nothing recognised": ("a.jsonl", '{"x": "a"}', {}, ["columns x", "data.prompt"]),
    "contradiction": (
        "a.jsonl",
        GOOD,
        {"messages": "m", "prompt": "p", "completion": "c"},
        ["messages and prompt and completion cannot go together"],
    ),
    "prompt alone": ("a.jsonl", GOOD, {"prompt": "prompt"}, ["completion is missing"]),
    "completion alone": ("a.jsonl", GOOD, {"completion": "completion"}, ["prompt is missing"]),
    "no prompt columns": ("a.jsonl", GOOD, {"prompt": [], "completion": "c"}, ["empty list"]),
    "one column twice": ("a.jsonl", GOOD, {"prompt": "c", "completion": "c"}, ["same column"]),
    "tools not there": ("a.jsonl", chat(USER, ANSWER), {"tools": "tols"}, ["no column 'tols'"]),
    "ragged csv": ("a.csv", "text\na\nb,c\n", {}, ["line 3", "found 2 fields"]),
    "csv column twice": ("a.csv", "text,text\na,b\n", {}, ["'text'", "twice"]),
    "open quote": ("a.csv", 'text\n"a\n', {}, ["not valid csv"]),
    "not parquet": ("a.parquet", "PAR1", {}, ["a.parquet", "not a readable parquet"]),
    "text for messages": (
        "a.jsonl",
        '{"messages": "hello"}',
        {},
        ["line 1", "expected a list of messages, found text: 'hello'", "give `text:`"],
    ),
    "broken messages": ("a.jsonl", '{"messages": "[hello"}', {}, ["line 1", "not valid JSON"]),
    "no messages": ("a.jsonl", '{"messages": []}', {}, ["line 1", "empty"]),
    "null messages": ("a.jsonl", chat(USER, ANSWER) + '{"messages": null}', {}, ["line 2", "null"]),
    "no answer": ("a.jsonl", chat(USER), {}, ["line 1", "no assistant turn"]),
    "unknown role": (
        "a.jsonl",
        chat({"role": "assitant", "content": "a"}),
        {},
        ["line 1, message 1", "'assitant'", "did you mean 'assistant'?"],
    ),
    "no role": ("a.jsonl", chat({"content": "a"}), {}, ["message 1", "needs a `role`", "content"]),
    "no content": ("a.jsonl", chat(USER, {"role": "assistant"}), {}, ["message 2", "no content"]),
    "empty answer": (
        "a.jsonl",
        chat(USER, {"role": "assistant", "content": ""}),
        {},
        ["assistant turn 1 is empty", "weight: 0"],
    ),
    "fractional weight": (
        "a.jsonl",
        chat(USER, ANSWER | {"loss_weight": 0.5}),
        {},
        ["message 2", "loss_weight is 0.5", "0 or 1"],
    ),
    "weights disagree": (
        "a.jsonl",
        chat(USER, ANSWER | {"weight": 1, "masked": True}),
        {},
        ["weight and masked contradict"],
    ),
    "weight on a user": ("a.jsonl", chat(USER | {"weight": 1}, ANSWER), {}, ["learn a user turn"]),
    "image": (
        "a.jsonl",
        chat({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, ANSWER),
        {},
        ["message 1", "'image_url'", "only text"],
    ),
    "unknown part": (
        "a.jsonl",
        chat({"role": "user", "content": [{"type": "txt", "text": "x"}]}),
        {},
        ["'txt'", "did you mean 'text'?"],
    ),
    "call without a name": (
        "a.jsonl",
        chat(USER, {"role": "assistant", "tool_calls": [{"arguments": {}}]}),
        {},
        ["message 2", "tool call"],
    ),
    "arguments not an object": (
        "a.jsonl",
        chat(USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}),
        {},
        ["message 2", "arguments of the call of 'f'"],
    ),
    "tools not json": (
        "a.jsonl",
        chat(USER, ANSWER, tools="[{"),
        {},
        ["'tools'", "not valid JSON"],
    ),
    "tools without a name": ("a.jsonl", chat(USER, ANSWER, tools=[{"x": 1}]), {}, ["{'x': 1}"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_with_file_line_and_way_out(case, tmp_path):
    name, content, settings, said = BAD[case]
    path = tmp_path / (name or "missing.jsonl")
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read(path, **settings)
    message = str(caught.value)
    for words in said:
        assert words in message, message
    assert len(message.splitlines()) <= 4 and len(message) < 900


def test_the_same_rows_come_from_every_kind_of_file(tmp_path):
    rows = [{"question": "a,\n1", "answer": 'b "2"'}, {"question": "é", "answer": "07"}]
    lines = "\n\n".join(json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "c.json").write_text(lines)
    (tmp_path / "d.jsonl").write_text(json.dumps(rows))
    (tmp_path / "e.csv").write_text('question,answer\n"a,\n1","b ""2"""\né,07\n', encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "f.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert [row.values for row in read_rows(str(path))] == rows, path
    (tmp_path / "README.md").write_text("not data")
    whole = read_rows(str(tmp_path))
    assert [row.values for row in whole] == rows * 6
    assert whole[1].origin.endswith("a.jsonl, line 3")
    assert whole[3].origin.endswith("b.json, row 2")
    assert whole[9].origin.endswith("e.csv, line 4")
    assert [row.values for row in read_rows(str(tmp_path), limit=3)] == (rows * 2)[:3]


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no .jsonl"):
        read_rows(str(tmp_path))


def test_saved_datasets_are_read_by_split(tmp_path):
    rows = [{"text": "a"}, {"text": "b"}]
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})
    saved.save_to_disk(str(tmp_path / "saved"))
    assert [row.values for row in read_rows(str(tmp_path / "saved"))] == rows
    with pytest.raises(UserError, match="no split 'trian', only train.*did you mean 'train'"):
        read_rows(str(tmp_path / "saved"), split="trian")


def test_a_hub_dataset_that_cannot_be_reached_is_refused(monkeypatch):
    def unreachable(name, split):
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError, match="somebody/something: neither a file.*Couldn't reach"):
        read_rows("somebody/something")


def test_a_mistyped_file_gets_the_nearest_name(tmp_path):
    (tmp_path / "train.jsonl").write_text(GOOD)
    with pytest.raises(UserError, match="no such file; did you mean 'train.jsonl'"):
        read_rows(str(tmp_path / "trian.jsonl"))


def test_fields_that_parquet_invents_for_nested_objects_are_left_out(tmp_path):
    rows = [{"messages": [USER, ANSWER | {"weight": 1}], "system": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    (row,) = read_rows(str(tmp_path / "a.parquet"))
    assert row.values == rows[0]


@pytest.mark.parametrize(
    ("present", "kind", "used"),
    [
        ("messages tools", "messages", ("messages", "tools")),
        ("conversations system", "messages", ("conversations", "system")),
        ("instruction input output", "completion", ("instruction", "input", "output")),
        ("instruction output", "completion", ("instruction", "output")),
        ("prompt completion", "completion", ("prompt", "completion")),
        ("id question answer", "completion", ("question", "answer")),
        ("text label", "text", ("text",)),
    ],
)
def test_formats_are_recognised_by_their_columns(present, kind, used):
    rows = [Row(dict.fromkeys(present.split(), "x"), "a, line 1")]
    found = columns(rows, Data(train="a"))
    assert (found.kind, found.used) == (kind, used)


def test_ignored_columns_are_as_if_they_were_not_there():
    names = ("messages", "system", "tools", "chat_template_kwargs", "prompt", "completion")
    rows = [Row(dict.fromkeys(names, "x"), "a, line 1")]
    assert columns(rows, Data(train="a")).used == ("messages", "tools", "system", names[3])
    ignored = Data(train="a", ignore=["system", "tools", "chat_template_kwargs"])
    assert columns(rows, ignored).used == ("messages",)
    assert columns(rows, Data(train="a", ignore=["messages"])).used == ("prompt", "completion")
    with pytest.raises(UserError, match="there is no column 'prompt'"):
        columns(rows, Data(train="a", ignore=["prompt"], prompt="prompt", completion="completion"))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
@pytest.mark.parametrize(
    ("name", "num_rows"),
    [
        ("chat/v1_sft_demo.jsonl", 500),
        ("chat/reason_tool_use_demo_50.jsonl", 50),
        ("chat/glaive_toolcall_en_demo.json", 300),
        ("chat/alpaca_en_demo.json", 999),
        ("gsm8k/train.jsonl", 7473),
    ],
)
def test_real_files_read_without_settings(name, num_rows):
    read(DATA / name)
    assert len(read_rows(str(DATA / name))) == num_rows


def test_a_resolved_data_section_reads_what_the_given_one_reads():
    rows = [Row({"messages": [USER, ANSWER]}, "a, line 1")]
    given = Data(train="a", messages="messages")
    assert columns(rows, Data(**given.model_dump())) == columns(rows, given)


def test_the_subset_and_version_of_a_hub_dataset_are_asked_for(monkeypatch):
    asked = []

    def load(path, **options):
        asked.append((path, options))
        return [{"text": "Hello"}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = Data(train="someone/some-data", configuration="all", revision="0a1b", split="train[:9]")
    assert [row.values for row in read_rows(data.train, **data.place)] == [{"text": "Hello"}]
    plain = Data(train="someone/some-data")
    read_rows(plain.train, **plain.place)
    assert asked == [
        ("someone/some-data", {"split": "train[:9]", "name": "all", "revision": "0a1b"}),
        ("someone/some-data", {"split": "train"}),
    ]
