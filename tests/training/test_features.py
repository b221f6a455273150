"""Training features against TRL's own run with them; and docs/features.md, which names every test."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import trainer_optimizer
from transformers.quantizers import quantizer_bnb_4bit
from trl.trainer.sft_trainer import SFTTrainer

from otr import SFT, OTRTrainer, runs
from otr.commands.main import main
from otr.errors import UserError
from otr.extras import install_words
from otr.pretrained import load_model
from otr.training.config import load_run
from otr.training.prepared_run import prepare
from otr.training.shape import shape_of
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "docs/features.md"


def run(
    kind: type[SFTTrainer], folder: Path, of: Any = None, peft: Any = None, **keywords: Any
) -> SFTTrainer:
    settings = {"max_steps": 4, "learning_rate": 1e-2} | keywords
    objective: dict[str, Any] = {"objective": SFT()} if kind is OTRTrainer else {}
    made = kind(
        model=model() if of is None else of,
        args=arguments(folder, **settings),
        train_dataset=dataset(),
        processing_class=tokenizer(),
        peft_config=peft,
        **objective,
    )
    made.train()
    return made


def needs_bitsandbytes() -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed (make quantized)")


def losses(of: SFTTrainer) -> list[float]:
    return [line["loss"] for line in of.state.log_history if "loss" in line]


@pytest.mark.parametrize(
    ("keywords", "lora"),
    [
        ({}, {"use_dora": True}),
        ({"neftune_noise_alpha": 5.0}, None),
        ({"gradient_checkpointing": True}, {"use_dora": True}),
    ],
    ids=["dora", "neftune", "checkpointed-dora"],
)
def test_a_feature_trains_as_in_trl_s_own_run(
    tmp_path: Path, keywords: dict[str, Any], lora: dict[str, Any] | None
) -> None:
    peft = lora and LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **lora)
    ours, theirs = (losses(run(kind, tmp_path, peft=peft, **keywords)) for kind in (OTRTrainer, SFTTrainer))  # fmt: skip
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours[-1] < ours[0]
    if "neftune_noise_alpha" in keywords:
        assert losses(run(OTRTrainer, tmp_path)) != pytest.approx(ours, rel=1e-3)


def test_activation_offloading_trains_the_same_or_is_refused_without_an_accelerator(
    tmp_path: Path,
) -> None:
    if not torch.accelerator.is_available():
        with pytest.raises(ValueError, match="there is no accelerator; leave it out"):
            run(OTRTrainer, tmp_path, activation_offloading=True)
        return
    plain, offloaded = (
        losses(run(OTRTrainer, tmp_path, activation_offloading=wanted, use_cpu=False))
        for wanted in (False, True)
    )
    assert offloaded == pytest.approx(plain, rel=1e-5)


def test_an_8_bit_optimizer_trains_as_in_trl_s_own_run(tmp_path: Path) -> None:
    needs_bitsandbytes()
    # States of fewer than 4,096 numbers keep 32 bits.
    ours, theirs = (
        run(kind, tmp_path, of=model(hidden_size=64), optim="adamw_bnb_8bit")
        for kind in (OTRTrainer, SFTTrainer)
    )
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-4)
    assert losses(ours)[-1] < losses(ours)[0]
    optimizer: Any = ours.optimizer
    states = [value for of_one in optimizer.state.values() for value in of_one.values()]
    assert torch.uint8 in {getattr(value, "dtype", None) for value in states}


def test_an_optimizer_whose_package_is_missing_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patched where transformers asks, which remembers the answer.
    monkeypatch.setattr(trainer_optimizer, "is_bitsandbytes_available", lambda: False)
    file = run_file(tmp_path)
    with pytest.raises(UserError, match="training.optim: .*install `bitsandbytes`"):
        prepare(load_run(file, ["training.optim=adamw_bnb_8bit"]))
    assert not (tmp_path / "run").exists()


def test_an_adapter_on_four_bit_weights_trains_as_in_trl_s_own_run(tmp_path: Path) -> None:
    needs_bitsandbytes()
    model(hidden_size=64).save_pretrained(tmp_path / "base")
    four_bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}  # fmt: skip
    found = []
    for kind in (OTRTrainer, SFTTrainer):
        of = load_model(str(tmp_path / "base"), quantization_config=dict(four_bits))
        assert type(of.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"  # type: ignore[union-attr]
        counted, whole = shape_of(of), shape_of(model(hidden_size=64))
        assert counted.num_params == whole.num_params
        assert 0.5 <= counted.packed_bytes / counted.num_packed < 0.6
        peft = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        found.append(losses(run(kind, tmp_path, of=of, peft=peft)))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0][-1] < found[0][0]


def test_four_bit_weights_without_bitsandbytes_are_refused_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantizer_bnb_4bit, "is_bitsandbytes_available", lambda: False)
    four_bits = "training.model_init_kwargs={quantization_config: {load_in_4bit: true}}"
    assert main(["check", str(run_file(tmp_path)), "lora.r=4", four_bits]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "requires bitsandbytes" in first
    assert second == f"Install that package; `{install_words('quantized')}` brings bitsandbytes."


def rows() -> list[tuple[str, str, str]]:
    """Feature, how it is switched on, and its tests, of each line of the table."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]
    assert len(cells) > 15 and all(len(line) == 3 for line in cells)
    return [(feature, switch, shown.partition("<!--")[2]) for feature, switch, shown in cells]


def test_every_line_of_the_table_of_features_names_tests_that_exist() -> None:
    for feature, _, tests in rows():
        named = re.findall(r"`(\w+/test_\w+)::(test_\w+)`", tests)
        assert named, feature
        for file, test in named:
            source = (REPOSITORY / "tests" / f"{file}.py").read_text()
            assert f"def {test}(" in source, f"{feature}: {file}::{test}"


def run_file(folder: Path) -> Path:
    runs.write_jsonl(folder / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    file = folder / "run.yaml"
    file.write_text(
        f"model: demo-weak\noutput_dir: {folder / 'run'}\n"
        f"data: {{train: {folder / 'rows.jsonl'}, validation: {folder / 'rows.jsonl'}}}\n"
    )
    return file


def test_every_switch_of_the_table_is_taken_by_a_run_file(tmp_path: Path) -> None:
    file = run_file(tmp_path)
    num_tried = 0
    for feature, switch, _ in rows():
        for override in re.findall(r"`([\w.]+=[^`]+)`", switch):
            if "bnb" in override and importlib.util.find_spec("bitsandbytes") is None:
                continue
            prepared = prepare(load_run(file, [override]))
            assert prepared.report.num_examples == 4, feature
            num_tried += 1
    assert num_tried >= 12
