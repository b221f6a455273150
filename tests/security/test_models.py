"""Model folders of strangers: their code, their pickles and their paths stay where they are."""

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.pretrained import load_model, load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

BASE = Path(runs.__file__).parent / "demo/bases/weak"
CODE = "open('ran', 'w').write('x')\n"


class Opened:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("ran", "w")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an embedded model, and a recipe for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(BASE, tmp_path / "model")
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 2 :", "completion": "ans 3"}] * 2)
    (tmp_path / "recipe.yaml").write_text(
        "model: model\ndata: {train: rows.jsonl}\noutput_dir: runs/first\n"
        "training: {max_steps: 1}\nsamples: {every_steps: 0}\n"
    )
    return tmp_path


def changed(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(known | changes))


def adapter(folder: Path, **changes: Any) -> Path:
    """A LoRA adapter of the model, its config changed."""
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    tuned: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    tuned.save_pretrained(folder / "adapter")
    for path in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / path, folder / "adapter")
    named = {"base_model_name_or_path": str(folder / "model")}
    changed(folder / "adapter/adapter_config.json", **{**named, **changes})
    return folder / "adapter"


def brings_a_model(folder: Path) -> None:
    own = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    changed(folder / "model/config.json", model_type="stranger", auto_map=own)
    (folder / "model/code.py").write_text(CODE)


def brings_a_model_of_a_known_kind(folder: Path) -> None:
    # The kind is known, but nothing says that the code is not wanted.
    changed(folder / "model/config.json", auto_map={"AutoModelForCausalLM": "code.M"})
    (folder / "model/code.py").write_text(CODE)


def brings_a_tokenizer(folder: Path) -> None:
    own = {"AutoTokenizer": ["code.T", None]}
    changed(folder / "model/tokenizer_config.json", auto_map=own, tokenizer_class="T")
    (folder / "model/code.py").write_text(CODE)


def brings_a_generation(folder: Path) -> None:
    (folder / "model/custom_generate").mkdir()
    (folder / "model/custom_generate/generate.py").write_text(CODE)


def brings_a_kernel(folder: Path) -> None:
    changed(folder / "model/config.json", attn_implementation="kernels-community/flash-attn2")


STRANGERS = (
    brings_a_model,
    brings_a_model_of_a_known_kind,
    brings_a_tokenizer,
    brings_a_generation,
    brings_a_kernel,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions put to whoever is at the keyboard, who says yes to all of them."""
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda *words: questions.append(str(words)) or "y")
    return questions


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda each: each.__name__)
def test_code_that_a_model_brings_is_not_run_and_nobody_is_asked(
    stranger: Callable[[Path], None], folder: Path, asked: list[str]
) -> None:
    stranger(folder)
    for load in (load_model, load_tokenizer):
        with contextlib.suppress(UserError):
            load("model")
    assert not asked and not (folder / "ran").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["check", "recipe.yaml"],
        ["eval", "model", "--benchmark", "demo/in_domain", "--limit", "1"],
        ["inspect", "model", "--data", "rows.jsonl"],
        ["export", "model", "-o", "out"],
    ],
)
def test_no_command_runs_a_model_s_code(words: list[str], folder: Path, asked: list[str]) -> None:
    brings_a_model(folder)
    assert main(words) == 2
    assert not asked and not (folder / "ran").exists()


def test_a_kernel_from_the_hub_is_refused_unless_code_is_trusted(folder: Path) -> None:
    brings_a_kernel(folder)
    with pytest.raises(UserError, match="config.json: attn_implementation.*trust_remote_code=true"):
        load_model("model")


@pytest.mark.parametrize("file", ["pytorch_model.bin", "adapter_model.bin"])
@pytest.mark.parametrize("whole", [True, False])
def test_weights_that_are_a_pickle_run_nothing(folder: Path, file: str, whole: bool) -> None:
    place = folder / "model"
    if file == "adapter_model.bin":
        place = adapter(folder)
        weights = load_file(place / "adapter_model.safetensors")
        (place / "adapter_model.safetensors").unlink()
    else:
        weights = load_file(place / "model.safetensors")
        (place / "model.safetensors").unlink()
    if whole:
        # In torch's own zip format, beside real weights.
        torch.save({**weights, "opened": Opened()}, place / file)
    else:
        (place / file).write_bytes(pickle.dumps(Opened()))
    with pytest.raises(UserError, match="cannot load"):
        load_model(str(place))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("where", ["../away.safetensors", "/etc/away.safetensors"])
def test_shards_lie_in_the_model_s_folder(folder: Path, where: str) -> None:
    weights = load_file(folder / "model/model.safetensors")
    (folder / "model/model.safetensors").unlink()
    save_file(weights, folder / "away.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, where)}
    (folder / "model/model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"index\.json: .* is not a file of its folder"):
        load_model("model")


def test_a_usual_adapter_loads(folder: Path) -> None:
    assert any("lora" in name for name, _ in load_model(str(adapter(folder))).named_parameters())


def test_an_adapter_s_class_is_not_looked_up(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # peft writes this field itself; `this` would print when it is imported.
    named = {"base_model_class": "A", "parent_library": "this"}
    load_model(str(adapter(folder, auto_mapping=named)))
    assert "The Zen of Python" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [
        {"megatron_config": {"a": 1}, "megatron_core": "this"},
        {
            "peft_type": "PROMPT_TUNING",
            "prompt_tuning_init": "TEXT",
            "prompt_tuning_init_text": "a",
            "tokenizer_name_or_path": "model",
            "tokenizer_kwargs": {"trust_remote_code": True},
            "num_virtual_tokens": 2,
        },
        {"base_model_name_or_path": "./nowhere"},
        {"base_model_name_or_path": 3},
        {"base_model_name_or_path": None},
    ],
)
def test_an_adapter_s_config_imports_and_runs_nothing(
    folder: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    brings_a_tokenizer(folder)
    place = adapter(folder, **changes)
    with pytest.raises(UserError):
        load_model(str(place))
    assert "The Zen of Python" not in capsys.readouterr().out
    assert not (folder / "ran").exists()


def test_an_adapter_s_base_is_held_to_the_same(folder: Path, asked: list[str]) -> None:
    place = adapter(folder)
    brings_a_model(folder)
    with pytest.raises(UserError):
        load_model(str(place))
    assert not asked and not (folder / "ran").exists()
