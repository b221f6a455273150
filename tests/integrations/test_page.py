"""Every example of docs/integrations.md runs and trains, with small models in its names."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from otr.pretrained import load_model
from tests.training.models import dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


def examples() -> list[Any]:
    """Each block of Python, by the heading that it stands under."""
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title = section.splitlines()[0]
        blocks = re.findall(r"```python\n(.*?)```", section, re.S)
        found += [pytest.param(code, id=f"{title}-{index}") for index, code in enumerate(blocks)]
    return found


@pytest.mark.parametrize("code", examples())
def test_an_example_runs_and_trains(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in re.findall(r"^(?:import|from) (\w+)", code, re.M):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    # What a trainer writes without being asked stays out of the working tree.
    monkeypatch.chdir(tmp_path)
    of, rows = model(), dataset(16)
    before = {name: value.clone() for name, value in of.state_dict().items()}
    collator = DataCollatorForLanguageModeling(pad_token_id=121)
    folder = str(tmp_path / "folder")
    names: dict[str, Any] = {
        "model": of,
        "tokenizer": tokenizer(),
        "rows": rows,
        "collator": collator,
        "loader": DataLoader(rows, batch_size=4, collate_fn=collator),  # type: ignore[arg-type]
        "folder": folder,
        "use_cpu": True,
        "args": TrainingArguments(folder, max_steps=4, use_cpu=True, report_to="none"),
        "__name__": "example",
    }
    exec(compile(code, str(PAGE), "exec"), names)
    after = of.state_dict()
    moved = [float((after[name].cpu() - value).norm()) for name, value in before.items()]
    assert min(moved) > 0 and torch.isfinite(torch.tensor(moved)).all()
    head = getattr(of, "fused_head", None)
    assert head is None or (head.step == 3 and head.last.log_prob.sum() < 0)


def test_the_page_has_an_example_for_each_kind_of_training() -> None:
    titles = {parameter.id.rpartition("-")[0] for parameter in examples()}
    assert titles == {
        "A plain PyTorch loop", "accelerate", "Lightning", "transformers.Trainer", "TRL",
    }  # fmt: skip


def test_the_readme_s_examples_run(tmp_path: Path) -> None:
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```python\n(.*?)```", readme, re.S)
    of = load_model("demo-weak")
    names: dict[str, Any] = {
        "model": of,
        "sft_config": SFTConfig(str(tmp_path), max_steps=1, use_cpu=True, report_to="none"),
        "dataset": dataset(8),
        "hidden": torch.randn(5, 8, requires_grad=True),
        "weight": torch.randn(11, 8, requires_grad=True),
        "labels": torch.tensor([3, -100, 0, 10, 7]),
    }
    exec(compile(first, "README.md", "exec"), names)
    before = {name: value.clone() for name, value in of.state_dict().items()}
    names["trainer"].train()
    assert all((of.state_dict()[name] - value).norm() > 0 for name, value in before.items())
    exec(compile(second, "README.md", "exec"), names)
    out = names["out"]
    assert names["weight"].grad.norm() > 0 and names["hidden"].grad[1].norm() == 0
    assert out.log_prob[0] < 0 and out.log_prob.shape == out.hit_rate.shape == out.reward.shape
