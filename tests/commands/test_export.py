"""`otr export`: what is written answers as what was trained."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from otr.commands.main import main
from tests.training.models import model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = torch.arange(3, 23)[None]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def saved(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """A base model with tokenizer and chat template."""
    model(dtype=dtype, **changes).save_pretrained(folder / "base")
    words = tokenizer()
    words.chat_template = TEMPLATE
    words.save_pretrained(folder / "base")
    return folder / "base"


def adapter(folder: Path, base: Path, scale: float = 0.05, **options: Any) -> Path:
    """A LoRA adapter whose update is not zero."""
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | options
    settings = {name: value for name, value in settings.items() if value is not None}
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                value.add_(scale * torch.randn_like(value))
    adapted.save_pretrained(str(folder / "adapter"))
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "adapter")
    return folder / "adapter"


@torch.no_grad()
def logits(folder: Path, base: Path | None = None) -> Tensor:
    of: Any = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    if base is not None:
        of = PeftModel.from_pretrained(of, str(folder))
    return of.eval()(TOKENS).logits


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"use_rslora": True}],
    ids=["lora", "dora", "trained-head", "rslora"],
)
def test_a_merged_adapter_answers_as_the_adapter_beside_its_base(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    # A trained head is no longer tied to the embeddings.
    base = saved(tmp_path, tie_word_embeddings=True)
    made = adapter(tmp_path, base, **options)
    assert main(["export", str(made), "-o", str(tmp_path / "out"), "--merge"]) == 0
    expected = logits(made, base)
    torch.testing.assert_close(logits(tmp_path / "out"), expected, rtol=1e-4, atol=1e-4)
    assert (logits(base) - expected).abs().max() > 0.1
    assert not (tmp_path / "out/adapter_config.json").exists()
    words = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert words.chat_template == TEMPLATE and words("w3")["input_ids"] == [3]
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["tie_word_embeddings"] is ("modules_to_save" not in options)


def test_an_adapter_is_merged_in_float32_and_rounded_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = saved(tmp_path, dtype=torch.bfloat16)
    # An update of a few last places of a bfloat16 weight.
    made = adapter(tmp_path, base, scale=0.02, r=16)
    assert main(["export", str(made), "-o", str(tmp_path / "out"), "--merge", "--dtype", "bfloat16"]) == 0  # fmt: skip
    exact: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    exact = PeftModel.from_pretrained(exact, str(made)).merge_and_unload().state_dict()
    rounded = load_file(tmp_path / "out/model.safetensors")
    for name, value in rounded.items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, exact[name].bfloat16()), name
    coarse: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    coarse = PeftModel.from_pretrained(coarse, str(made), autocast_adapter_dtype=False)
    coarse = coarse.merge_and_unload().state_dict()
    errors = [
        sum(float((of[name].float() - exact[name]).square().sum()) for name in rounded)
        for of in (rounded, coarse)
    ]
    assert 0 < errors[0] < errors[1]
    said = capsys.readouterr().out
    (shown,) = re.findall(r"written in bfloat16: logits differ by ([\d.e+-]+) at most", said)
    # The prompts are not this test's tokens; bfloat16 has 8 bits.
    assert 0 < float(shown) < 0.2 * float(logits(made, base).abs().max())


def test_an_adapter_stays_one_unless_it_is_merged_and_a_whole_model_is_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = saved(tmp_path)
    made = adapter(tmp_path, base)
    assert main(["export", str(made), "-o", str(tmp_path / "one")]) == 0
    assert (tmp_path / "one/adapter_model.safetensors").is_file()
    torch.testing.assert_close(logits(tmp_path / "one", base), logits(made, base))
    assert main(["export", str(base), "-o", str(tmp_path / "two")]) == 0
    assert torch.equal(logits(tmp_path / "two"), logits(base))
    assert "logits differ by 0 at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "base"], "base is there already; give a new folder"),
        (["-o", "out", "--format", "gguf"], "llama.cpp's converter is not on PATH"),
        (["-o", "out", "--format", "gguf", "--converter", "nowhere.py"], "there is no file"),
        (["-o", "out", "--converter", "nowhere.py"], "is for --format gguf"),
        (["-o", "base/config.json/out"], "cannot be written"),
        (["-o", "out", "--dtype", "float16"], "float16 ends at 65504, so try --dtype bfloat16"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    of = model()
    with torch.no_grad():
        of.lm_head.weight.mul_(1e6)
    of.save_pretrained("base")
    tokenizer().save_pretrained("base")
    assert main(["export", "base", *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_converter_that_fails_leaves_nothing_and_one_that_works_leaves_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it is called with is what llama.cpp's `convert_hf_to_gguf.py` takes."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    converter = tmp_path / "convert_hf_to_gguf.py"
    words = ["export", "base", "-o", "out", "--format", "gguf", "--dtype", "float16"]
    words += ["--converter", str(converter)]
    converter.write_text("raise SystemExit('Model LlamaForCausalLM is not supported')")
    assert main(words) == 2
    assert "convert_hf_to_gguf.py failed: Model LlamaForCausalLM is" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"base", converter.name}
    converter.write_text(
        "import argparse, pathlib, safetensors.torch as s\n"
        "p = argparse.ArgumentParser(); p.add_argument('model', type=pathlib.Path)\n"
        "p.add_argument('--outfile'); p.add_argument('--outtype'); a = p.parse_args()\n"
        "dtypes = {str(v.dtype) for v in s.load_file(a.model / 'model.safetensors').values()}\n"
        "pathlib.Path(a.outfile).write_text(f'{a.outtype} of {dtypes}')\n"
    )
    assert main(words) == 0, sys.executable
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.gguf"]
    assert (tmp_path / "out/model.gguf").read_text() == "f16 of {'torch.float16'}"
