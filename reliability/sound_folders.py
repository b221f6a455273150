"""Sound folders, of which copies are spoilt: a finished run, a study, an adapter."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model

from otr import runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.evaluation.comparison import compare
from otr.evaluation.scored_run import read_run
from otr.objectives import objective_from_options
from otr.pretrained import load_model, load_tokenizer
from otr.training.config import Data, Run
from otr.training.inspection import token_views


def finished_run(folder: Path) -> Run:
    """A small run that was trained and scored, with a checkpoint."""
    from otr.evaluation.pipeline import evaluate
    from otr.training.pipeline import train

    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": data_section(folder / "rows.jsonl") | {"limit": 16},
            "training": {"max_steps": 2, "save_steps": 2, "per_device_train_batch_size": 2},
            "output_dir": str(folder / "trained"),
        }
    )
    train(run, progress=False)
    benchmarks = ["demo/in_domain", "demo/validation"]
    evaluate(run.output_dir, benchmarks, limit=2, output=Path(run.output_dir))
    return run


def write_study(folder: Path, run: Path) -> None:
    """A study folder of that run alone."""
    folder.mkdir()
    shutil.copytree(run, folder / run.name, ignore=shutil.ignore_patterns("checkpoints", "model"))
    scored = read_run(folder / run.name)
    comparison = compare(
        "study", "A study", [scored], [],
        model="demo-weak", budget={"steps": 2}, benchmarks={"in_domain": ["demo/in_domain"]},
        validation="demo/validation", untuned=scored.answered,
    )  # fmt: skip
    runs.write_json(folder / runs.RESULTS, comparison.as_json())
    data = Data.model_validate(data_section(folder.parent / "rows.jsonl"))
    views = token_views("demo-weak", data, [0], [objective_from_options({"name": "otr"})])
    runs.write_json(folder / runs.TOKENS, views)


def write_adapter(folder: Path) -> Path:
    """A LoRA adapter of an embedded model."""
    base = load_model("demo-weak")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=2)
    adapted: Any = get_peft_model(base, config)
    adapted.save_pretrained(folder)
    load_tokenizer("demo-weak").save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path there."""
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
