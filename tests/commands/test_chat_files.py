"""Files of conversations as other tools write them, through `otr check` and `otr train`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from otr import runs
from otr.commands.main import main
from otr.evaluation.generation import end_tokens
from otr.pretrained import load_model, load_tokenizer, model_location

from ..training.chat_models import DATA

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here"),
]

ALPACA = "chat/alpaca_en_demo.json"
SHAREGPT = "chat/glaive_toolcall_en_demo.json"
REASONING = "chat/reason_tool_use_demo_50.jsonl"
WEIGHTED = "chat/v1_sft_demo.jsonl"

# A file; the columns, said or recognised; the kind; what of its first example is learned, and what
# stands before it and is not.
FORMS: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "alpaca": (ALPACA, {}, "completion", "Making crepes is", "Describe a process of making"),
    "alpaca, named": (
        ALPACA,
        {"prompt": ["instruction", "input"], "completion": "output"},
        "completion",
        "Making crepes is",
        "Describe a process of making",
    ),
    "sharegpt with tools": (
        SHAREGPT,
        {},
        "messages",
        '<tool_call>{"name": "search_recipes"',
        '{"type": "function", "function": {"name": "search_recipes"',
    ),
    "sharegpt, named": (
        SHAREGPT,
        {"messages": "conversations", "tools": "tools"},
        "messages",
        "Of course! I can help you with that.",
        "I have chicken, bell peppers, and rice.",
    ),
    "reasoning and tools": (
        REASONING,
        {},
        "messages",
        "Okay, the user is asking for schools",
        "You are a methodical and expert assistant.",
    ),
    "weights": (WEIGHTED, {"messages": "messages"}, "messages", "Hello! I am {{name}}", "hi"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(folder: Path, name: str, settings: dict[str, Any], max_length: int = 6000) -> str:
    written = {
        "model": "demo",
        "data": {"train": str(DATA / name), "limit": 2, **settings},
        "objective": {"name": "sft"},
        "training": {
            "max_steps": 1,
            "per_device_train_batch_size": 1,
            "max_length": max_length,
            "save_strategy": "no",
        },
        "samples": {"every_steps": 0},
        "output_dir": "run",
    }
    with open(folder / "recipe.yaml", "w") as file:
        YAML(typ="safe").dump(written, file)
    return "recipe.yaml"


@pytest.mark.parametrize("form", FORMS)
def test_check_shows_what_of_a_real_file_is_learned(
    form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, settings, kind, answer, prompt = FORMS[form]
    assert main(["check", recipe(folder, name, settings)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"rows       2 of {kind}, 2 examples" in lines
    assert "nothing would be lost" in lines
    assert not [line for line in lines if line.startswith("PROBLEM")]
    learned = "\n".join(line for line in lines if line.startswith("learn |"))
    context = "\n".join(line for line in lines if line.startswith("      |"))
    assert answer in learned and answer not in context
    assert prompt in context


@pytest.mark.parametrize("name", [ALPACA, SHAREGPT, REASONING, WEIGHTED])
def test_train_takes_each_real_file_as_it_is(name: str, folder: Path) -> None:
    assert main(["train", recipe(folder, name, {})]) == 0
    (line,) = [line for line in runs.read_jsonl(folder / "run/metrics.jsonl") if "loss" in line]
    audit = runs.read_json(folder / "run/audit.json")
    assert audit["num_examples"] == 2 and audit["problems"] == []
    # One example a step: the logged tokens are those that one of the two examples has.
    assert audit["lengths"]["min"] <= line["num_tokens"] <= audit["lengths"]["max"]
    assert line["loss"] == pytest.approx(line["nll"], rel=1e-6) and line["nll"] > 0


@pytest.mark.parametrize("lora", [None, {"r": 2, "target_modules": "all-linear"}])
def test_generation_stops_at_the_end_of_turn_that_was_learned(
    lora: dict[str, Any] | None, folder: Path
) -> None:
    # A base model that knows of no turns.
    shutil.copytree(model_location("demo"), folder / "base")
    config = runs.read_json(folder / "base/generation_config.json")
    runs.write_json(folder / "base/generation_config.json", config | {"eos_token_id": 0})
    words = ["model=base", *([] if lora is None else [f"lora={json.dumps(lora)}"])]
    assert main(["train", recipe(folder, WEIGHTED, {}), *words]) == 0
    tokenizer = load_tokenizer("run/model")
    config = load_model("run/model").generation_config
    assert end_tokens(tokenizer, (), config) == {
        tokenizer.get_vocab()[token] for token in ("<|endoftext|>", "<|im_end|>")
    }


def test_a_limit_too_short_for_every_row_says_how_long_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(folder, REASONING, {"overlong": "drop"}, max_length=64)
    for command in ("check", "train"):
        assert main([command, path]) == 2
        said = capsys.readouterr().err
        assert "none of the 2 rows is left" in said
        assert "raise training.max_length" in said and "tokens" in said
    assert not (folder / "run").exists()
