"""The page of the Python API: what is public, and where its docstrings are."""

from otr.objectives import ALL

_PARTS = (
    (
        "Training",
        "TRL's trainer with another objective; everything else is TRL's.",
        ("otr.training.trainer.OTRTrainer",),
    ),
    (
        "The loss",
        "For any PyTorch loop: hidden states, a head and labels in; a loss and a few numbers of each "
        "token out.",
        ("otr.lm_head.head.linear_loss", "otr.lm_head.head.logits_loss", "otr.lm_head.call.HeadOutput"),
    ),
    (
        "Objectives",
        "Frozen dataclasses: a wrong value raises `ValueError` that names the field.",
        tuple(f"{kind.__module__}.{kind.__name__}" for kind in ALL)
        + ("otr.objectives.seam.Anchor", "otr.objectives.objective_from_options"),
    ),
    (
        "An objective of your own",
        "A pure function from statistics of each token to weights over the vocabulary.",
        tuple(f"otr.objectives.seam.{name}" for name in ("Objective", "Needs", "Statistics", "Weights")),
    ),
    ("Grading", "The rule of a benchmark alone.", ("otr.evaluation.answers.grade",)),
)  # fmt: skip


def api_page() -> str:
    """The page, with a directive for each public name that mkdocstrings fills in."""
    parts = [
        "# Python API\n\n```python\nfrom otr import OTR, OTRTrainer, linear_loss\n```\n\n"
        "`import otr` loads neither torch nor transformers; what you name is loaded when you name "
        "it. Tensor names in this page end in their shape: T tokens, D width, V vocabulary, K "
        "rollouts.\n"
    ]
    for title, about, names in _PARTS:
        parts.append(f"## {title}\n\n{about}\n")
        parts += [f"::: {name}\n" for name in names]
    return "\n".join(parts)
