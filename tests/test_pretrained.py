"""Names of models: what is looked for where, and what is said of what is not there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPConfig, T5Config

from otr import pretrained, runs
from otr.demo import base_model_folder
from otr.errors import UserError
from otr.pretrained import load_model, load_tokenizer, unreachable_hub


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that cannot be reached; what it was asked for."""
    urls: list[str] = []

    def refuse(url: str) -> None:
        urls.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr(pretrained, "get_hf_file_metadata", refuse)
    unreachable_hub.cache_clear()
    return urls


def test_a_name_that_is_nowhere_is_refused_after_one_request(asked: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_tokenizer("dmeo")
    said, way_out = str(caught.value).splitlines()
    assert said == (
        "tokenizer of model: cannot load 'dmeo': there is no such folder; did you mean 'demo'; it was "
        "not downloaded before, and the hub cannot be reached: no route to host"
    )
    assert "a folder saved with save_pretrained" in way_out
    assert len(asked) == 1


def test_what_was_downloaded_before_is_used_without_the_hub(
    asked: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "models--some--one"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("0123")
    embedded = base_model_folder("demo")
    assert embedded is not None
    shutil.copytree(embedded, kept / "snapshots/0123")
    tokenizer = load_tokenizer("some/one", cache_dir=str(tmp_path))
    assert len(tokenizer) == len(load_tokenizer("demo"))
    assert len(asked) == 1


def test_a_folder_asks_no_hub(asked: list[str]) -> None:
    load_tokenizer("demo")
    assert asked == []


def test_a_folder_of_runs_or_without_a_model_is_told_from_others(tmp_path: Path) -> None:
    for name in ("study/sft-seed-0/model", "run", "empty", "mine/configs", "begun/otr-seed-0"):
        (tmp_path / name).mkdir(parents=True)
    for study in ("study", "mine", "begun"):
        (tmp_path / study / runs.STUDY).touch()
    (tmp_path / "begun/otr-seed-0" / runs.ENVIRONMENT).touch()
    (tmp_path / "mine/configs" / runs.CONFIG).touch()
    (tmp_path / "run" / runs.CONFIG).touch()
    for name, said in (
        ("study", "is a study's; name one of its runs, such as 'sft-seed-0'"),
        ("run", "is a run's without model/: finish it with `otr train`"),
        ("empty", "has no config.json, so it is not a model"),
        ("mine", "has no config.json, so it is not a model"),
        ("begun", "is a study's; name one of its runs$"),
    ):
        with pytest.raises(UserError, match=f"/{name}' {said}"):
            load_tokenizer(str(tmp_path / name))


def test_a_model_of_another_kind_is_named_as_what_it_is(tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 8,
        "num_layers": 1,
        "num_heads": 2,
        "vocab_size": 16,
    }
    T5Config(**small).save_pretrained(tmp_path / "t5")
    CLIPConfig().save_pretrained(tmp_path / "clip")
    for name, said in (
        ("t5", "is an encoder-decoder (t5); otr trains causal language models"),
        ("clip", "is of the type clip, which has no causal language model; otr trains causal"),
    ):
        with pytest.raises(UserError) as caught:
            load_model(str(tmp_path / name))
        assert said in str(caught.value) and "save_pretrained" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "way_out", "not_said"),
    [
        (
            "FlashAttention2 has been toggled on, but it cannot be used due to the following error: "
            "the package for FlashAttention2 doesn't seem to be installed.",
            "pip install flash-attn",
            "bitsandbytes",
        ),
        ("requires the latest version of bitsandbytes", "brings bitsandbytes", "flash-attn"),
        (
            "Loading a GPTQ quantized model requires optimum",
            "Install that package.",
            "bitsandbytes",
        ),
    ],
)
def test_the_package_that_is_missing_is_the_one_that_is_named(
    said: str, way_out: str, not_said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*words: object, **options: object) -> None:
        raise ImportError(said)

    monkeypatch.setattr(pretrained.AutoTokenizer, "from_pretrained", load)
    with pytest.raises(UserError) as caught:
        load_tokenizer("demo")
    last = str(caught.value).splitlines()[-1]
    assert way_out in last and not_said not in last


def test_the_older_name_of_dtype_is_followed() -> None:
    assert load_model("demo-weak", torch_dtype="bfloat16").dtype == torch.bfloat16
    assert load_model("demo-weak", dtype="bfloat16", torch_dtype="bfloat16").dtype == torch.bfloat16


def test_two_names_of_dtype_that_differ_are_refused() -> None:
    with pytest.raises(UserError, match="give dtype alone"):
        load_model("demo-weak", dtype="float32", torch_dtype="bfloat16")


@pytest.mark.parametrize("options", [{"dtype": "bf16"}, {"attn_implementaton": "eager"}], ids=str)
def test_an_option_that_no_model_takes_is_said_to_be_one(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"Correct training\.model_init_kwargs"):
        load_model("demo-weak", **options)
