"""The three regimes of the embedded comparison: which base model, which demonstrations."""

from dataclasses import dataclass
from pathlib import Path

from otr.demo.tasks import SEPARATOR
from otr.demo.training_data import demonstrations
from otr.runs import write_jsonl


@dataclass(frozen=True, kw_only=True)
class Regime:
    """A base model and the demonstrations it is fine-tuned on."""

    name: str
    """Short, fit for a folder's name."""

    title: str
    """In words, for people."""

    model: str
    """An embedded base model, as in a run file."""

    style: str
    """How the demonstrations are worded; see `otr.demo.training_data.STYLES`."""

    wrong_share: float
    """The share of demonstrations with a slip in a step, and so a wrong answer."""

    num_demonstrations: int = 256


REGIMES = (
    Regime(
        name="half-wrong",
        title="strong base, half of the demonstrations wrong",
        model="demo-strong",
        style="mild",
        wrong_share=0.5,
    ),
    Regime(
        name="clean",
        title="strong base, clean demonstrations",
        model="demo-strong",
        style="mild",
        wrong_share=0.0,
    ),
    Regime(
        name="weak-base",
        title="weak base, clean demonstrations",
        model="demo-weak",
        style="mild",
        wrong_share=0.0,
    ),
)
"""Chosen on a prototype, to show one where OTR helps, one where it does not matter and one where
it costs; whether they do is measured anew each time."""

LEARNING_RATES = (1e-4, 1e-3)
SEEDS = (0, 1, 2)
NUM_STEPS = 120
BATCH_SIZE = 16


def write_demonstrations(regime: Regime, seed: int, path: Path) -> None:
    """Write a regime's demonstrations for one seed, with columns `prompt` and `completion`.

    Other seeds draw other questions, so that seeds differ in their data too. The run file needs
    `separator: " "`.
    """
    problems = demonstrations(
        regime.style,
        num_demonstrations=regime.num_demonstrations,
        wrong_share=regime.wrong_share,
        seed=seed,
    )
    rows = ({"prompt": each.prompt, "completion": each.completion} for each in problems)
    write_jsonl(path, rows)


def data_section(path: Path) -> dict[str, str]:
    """The `data` section of a run file for demonstrations written to `path`."""
    return {
        "train": str(path),
        "prompt": "prompt",
        "completion": "completion",
        "separator": SEPARATOR,
    }
