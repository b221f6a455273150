"""The embedded base models: what is shipped is what the hashes say, and can be made again."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from otr.demo import base_model_folder, pretraining
from otr.demo.pretraining import base_config, rebuild
from otr.demo.tokenizer import demo_tokenizer
from otr.pretrained import load_model, load_tokenizer

BASES = {"weak": "demo-weak", "mid": "demo-mid", "strong": "demo"}


@pytest.mark.parametrize("name", BASES)
def test_a_base_is_the_one_that_was_hashed(name: str) -> None:
    folder = base_model_folder(BASES[name])
    assert folder is not None
    hashes = json.loads((folder.parent / "hashes.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == hashes[name]
    assert len(weights) < 2**20


@pytest.mark.parametrize("name", BASES)
def test_a_base_has_todays_tokenizer_and_architecture(name: str) -> None:
    tokenizer, todays = load_tokenizer(BASES[name]), demo_tokenizer()
    assert tokenizer.get_vocab() == todays.get_vocab()
    assert tokenizer.chat_template == todays.chat_template
    config, expected = (
        LlamaConfig.from_pretrained(str(base_model_folder(BASES[name]))),
        base_config(todays),
    )
    for field in ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"):
        assert getattr(config, field) == getattr(expected, field)
    assert config.max_position_embeddings >= 4096


def test_a_base_knows_a_token_by_what_came_before_and_not_after() -> None:
    model = load_model("demo").eval()
    ids = torch.tensor([load_tokenizer("demo")("add 8 3 and 4 8 : 3 + 8 = 1 1 ;")["input_ids"]])
    with torch.inference_mode():
        whole, start = model(ids).logits, model(ids[:, :9]).logits
    assert torch.allclose(whole[:, :9], start, atol=1e-5)


def test_rebuilding_twice_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "KEPT_STEPS", {"weak": 2, "strong": 3})
    monkeypatch.setattr(pretraining, "_BATCH_SIZE", 4)
    (tmp_path / "a" / "weak").mkdir(parents=True)
    (tmp_path / "a" / "weak" / "stale.txt").write_text("left from before")
    before = torch.get_rng_state()
    losses: list[float] = []
    hashes = rebuild(tmp_path / "a", lambda step, num_steps, loss: losses.append(loss))
    torch.rand(1)
    assert hashes == rebuild(tmp_path / "b")
    assert hashes["weak"] != hashes["strong"]
    assert json.loads((tmp_path / "a" / "hashes.json").read_text()) == hashes
    for name, digest in hashes.items():
        weights = (tmp_path / "a" / name / "model.safetensors").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == digest
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "hashes.json",
        "strong",
        "weak",
    ]
    assert not (tmp_path / "a" / "weak" / "stale.txt").exists()
    assert len(losses) == 3 and all(4 < loss < 9 for loss in losses)
    torch.set_rng_state(before)
