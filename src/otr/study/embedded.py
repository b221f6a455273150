"""Studies of the embedded models on generated demonstrations."""

from pathlib import Path
from typing import Any

from otr.demo.regimes import BATCH_SIZE, NUM_STEPS, Regime, data_section, write_demonstrations
from otr.study.file import Study

BENCHMARKS = {
    "in_domain": ["demo/in_domain"],
    "out_of_domain": ["demo/longer", "demo/phrasing"],
    "retention": ["demo/retention"],
}


def embedded_study(
    regime: Regime,
    folder: Path,
    *,
    objectives: list[dict[str, Any]],
    learning_rates: list[float],
    seeds: list[int],
    keep_models: str = "all",
) -> Study:
    """A study of a regime in a folder of its own within `folder`, its demonstrations written.

    Seeds differ in their demonstrations too.
    """
    inside = folder / regime.name
    (inside / "data").mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        write_demonstrations(regime, seed, inside / "data" / f"seed-{seed}.jsonl")
    return Study.model_validate(
        {
            "title": regime.title,
            "base": {
                "model": regime.model,
                "data": data_section(inside / "data" / "seed-{seed}.jsonl"),
                "training": {
                    "max_steps": NUM_STEPS,
                    "per_device_train_batch_size": BATCH_SIZE,
                },
            },
            "objectives": objectives,
            "learning_rates": learning_rates,
            "seeds": seeds,
            "validation": {"benchmark": "demo/validation"},
            "benchmarks": BENCHMARKS,
            "keep_models": keep_models,
            "output_dir": str(inside),
        }
    )
