"""What is compared: regimes, objectives, learning rates, seeds. All chosen before the runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otr.demo.regimes import Regime
from otr.study.embedded import embedded_study
from otr.study.file import Study

SEEDS = [0, 1, 2, 3, 4]
LEARNING_RATES = [2.5e-5, 1e-4, 4e-4, 1.6e-3, 6.4e-3]
"""Swept in every regime: first the middle three, then, where so many of the best were at the edge,
the outer two."""

_FORWARD = {"kl": 0.05, "direction": "forward"}

FAMILY: list[dict[str, Any]] = [
    {"name": "sft"},
    {"name": "dft"},
    {"name": "otr"},
    {"name": "otr", "num_rollouts": "exact"},
    {"name": "otr", "floor": 0.1},
    {"name": "otr", "least_chance": 0.00390625},
    {"name": "otr", "sft_until": 0.5},
    {"name": "dft", "floor": 0.1},
    {"name": "label-smoothing"},
    {"name": "power", "alpha": 0.5},
    {"name": "eaft"},
    {"name": "focal"},
    {"name": "gem"},
    {"name": "unlikelihood"},
    {"name": "sft", "entropy_bonus": 0.01},
    {"name": "sft", "anchor": _FORWARD},
    {"name": "dft", "anchor": _FORWARD},
]
"""Every objective with its defaults, and the modifiers on SFT, DFT and OTR."""

SETTINGS: list[dict[str, Any]] = [
    {"name": "otr", "num_rollouts": 4},
    {"name": "otr", "num_rollouts": 32},
    {"name": "otr", "temperature": 1.0},
    {"name": "otr", "temperature": 2.0},
    {"name": "otr", "wrong_reward": 0.0},
    {"name": "otr", "wrong_reward": -0.5},
    {"name": "otr", "wrong_reward": 0.2},
]
"""OTR with one of its settings changed at a time."""


_GRPO: dict[str, Any] = {
    "name": "grpo",
    "num_generations": 8,
    "per_device_train_batch_size": 32,
    "learning_rates": [2.5e-5, 1e-4, 4e-4],
}
BASELINES: list[dict[str, Any]] = [_GRPO, _GRPO | {"max_seconds": 30}]
"""Reinforcement learning on whole answers, as long as SFT takes and several times as long. Its rates
are those around the best of one trial run, in which 1.6e-3 destroyed the model."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A regime and what is compared under it."""

    regime: Regime
    methods: list[dict[str, Any]]


def _regime(name: str, title: str, model: str, style: str, wrong_share: float) -> Regime:
    return Regime(name=name, title=title, model=model, style=style, wrong_share=wrong_share)


COMPARED = FAMILY + BASELINES

_STRONG_CLEAN = ("strong base, familiar style, clean", "demo-strong", "mild", 0.0)
_STRONG_WRONG = ("strong base, familiar style, half wrong", "demo-strong", "mild", 0.5)
_STRONG_UNFAMILIAR = ("strong base, unfamiliar style, clean", "demo-strong", "medium", 0.0)
_WEAK_CLEAN = ("weak base, familiar style, clean", "demo-weak", "mild", 0.0)
_WEAK_WRONG = ("weak base, familiar style, 30 % wrong", "demo-weak", "mild", 0.3)

CASES = (
    Case(regime=_regime("strong-wrong", *_STRONG_WRONG), methods=COMPARED + SETTINGS),
    Case(regime=_regime("strong-unfamiliar", *_STRONG_UNFAMILIAR), methods=COMPARED + SETTINGS),
    Case(
        regime=_regime("weak-clean", *_WEAK_CLEAN),
        methods=COMPARED + [each | {"learning_rates": LEARNING_RATES[2:]} for each in SETTINGS],
    ),
    Case(regime=_regime("strong-clean", *_STRONG_CLEAN), methods=COMPARED),
    Case(regime=_regime("weak-wrong", *_WEAK_WRONG), methods=COMPARED),
)


def study(case: Case, folder: Path) -> Study:
    """The study of a case, in a folder of its own, its demonstrations written."""
    return embedded_study(
        case.regime,
        folder,
        objectives=case.methods,
        learning_rates=LEARNING_RATES,
        seeds=SEEDS,
        keep_models="none",
    )
