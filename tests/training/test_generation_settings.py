"""A model is trained and saved whatever its generation_config.json says."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from otr import runs
from otr.commands.main import main
from otr.demo import base_model_folder
from otr.training.generation_settings import made_savable
from otr.training.trainer import OTRTrainer

from .models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

PUBLISHED: list[dict[str, Any]] = [
    {"temperature": 0.9, "top_p": 0.6},
    {"do_sample": False, "top_k": 20, "min_p": 0.1},
    {"early_stopping": True, "length_penalty": 0.5},
    {"output_scores": True},
    {"cache_implementation": "static", "use_cache": False},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"pad_token_id": -1},
]
"""Settings of published models that have no effect as they stand."""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    folder = base_model_folder("demo-weak")
    assert folder is not None
    shutil.copytree(folder, "published")
    runs.write_json(Path("published/generation_config.json"), {"eos_token_id": 5, **PUBLISHED[0]})
    runs.write_jsonl(Path("rows.jsonl"), [{"prompt": "add 2 and 1 :", "completion": "ans 3 ."}] * 4)
    Path("recipe.yaml").write_text(
        "model: published\ndata: {train: rows.jsonl, separator: ' '}\n"
        "training: {max_steps: 2, save_steps: 1}\nsamples: {every_steps: 0}\noutput_dir: run\n"
    )
    return "recipe.yaml"


@pytest.mark.parametrize("settings", [[], ["lora={r: 2, target_modules: all-linear}"]])
def test_a_run_keeps_its_weights_and_says_which_generation_settings_it_leaves_out(
    recipe: str, capsys: pytest.CaptureFixture[str], settings: list[str]
) -> None:
    assert main(["train", recipe, *settings]) == 0
    error = " ".join(capsys.readouterr().err.split())
    assert "settings, temperature=0.9, top_p=0.6 cannot be used as they stand" in error
    saved = runs.read_json(Path("run/model/generation_config.json"))
    assert "temperature" not in saved and "top_p" not in saved
    assert list(Path("run/model").glob("*.safetensors"))


def test_check_says_which_generation_settings_are_left_out(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", recipe]) == 0
    assert "temperature=0.9, top_p=0.6 cannot be used" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("settings", PUBLISHED, ids=str)
def test_the_trainer_saves_a_model_with_published_settings(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    published = model()
    published.generation_config = GenerationConfig(**settings)
    trainer = OTRTrainer(
        published, args=arguments(tmp_path, max_steps=1, save_strategy="steps", save_steps=1),
        train_dataset=dataset(8), processing_class=tokenizer(),
    )  # fmt: skip
    trainer.train()
    assert (tmp_path / "checkpoint-1/model.safetensors").is_file()


def test_settings_that_have_an_effect_are_kept() -> None:
    sampled = model()
    sampled.generation_config = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.9)
    assert made_savable(sampled) == ""
    assert sampled.generation_config.temperature == 0.6


def test_only_the_settings_without_effect_are_taken_out() -> None:
    mixed = model()
    mixed.generation_config = GenerationConfig(temperature=0.6, repetition_penalty=1.1)
    assert "settings, temperature=0.6 cannot" in made_savable(mixed)
    assert mixed.generation_config.repetition_penalty == 1.1
