"""A case: sizes, dtype, states and heads; and the inputs that they stand for.

Shapes: T tokens, D width, V vocabulary.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from otr.lm_head import IGNORED

RANDOM = "random"
"""States of no model: standard normal, with logits of about standard deviation 1."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What every head of a case gets."""

    hidden_TD: Tensor
    """A leaf that requires its gradient."""

    weight_VD: Tensor
    """A leaf that requires its gradient, unless the head is frozen."""

    labels_T: Tensor

    def clear(self) -> None:
        """Forget the gradients."""
        self.hidden_TD.grad = self.weight_VD.grad = None


@dataclass(frozen=True, kw_only=True)
class States:
    """Hidden states of a trained model, the head they belong to, and the words that came next."""

    hidden_TD: Tensor
    weight_VD: Tensor
    labels_T: Tensor
    description: dict[str, Any]
    """What they are: texts, model, training, and how probable the labels are."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes, and which heads are compared there."""

    name: str
    rows: int
    """At most, where there are states."""
    width: int = 0
    """0 for that of the states."""
    vocabulary: int = 0
    """0 for that of the states."""
    heads: tuple[str, ...] = ()
    rounds: int = 3
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    states: str = RANDOM
    """RANDOM, or a name of `States`."""
    ignored_share: float = 0.0
    """Share of labels that are ignored, spread evenly at random."""
    frozen: bool = False
    """Whether the head's weight needs no gradient, as under LoRA."""
    group: str = "cases"
    """`cases`, or `growth T`, `growth V`, `growth D`, `growth K`."""

    @property
    def num_products(self) -> int:
        """Matrix products that no head can do without."""
        return 2 if self.frozen else 3

    @property
    def flops(self) -> float:
        """Floating-point operations of these products."""
        supervised = self.rows * (1 - self.ignored_share)
        return 2.0 * self.num_products * supervised * self.width * self.vocabulary

    def sizes(self) -> dict[str, Any]:
        """The case without what is only about how it is measured."""
        fields = asdict(self)
        for field in ("heads", "rounds"):
            del fields[field]
        return fields | {"num_products": self.num_products}


def fitted(case: Case, states: States) -> Case:
    """The case with the width and vocabulary of the states, and as many rows as there are."""
    rows, width = states.hidden_TD.shape
    vocabulary = len(states.weight_VD)
    return replace(case, rows=min(case.rows, rows), width=width, vocabulary=vocabulary)


def make_inputs(case: Case, device: str, states: States | None = None, seed: int = 0) -> Inputs:
    """The inputs of a case; the same ones for the same seed.

    Args:
        states: the trained states that the case names; None for random ones.
    """
    dtype = DTYPES[case.dtype]
    generator = torch.Generator(device).manual_seed(seed)
    on: dict[str, Any] = {"generator": generator, "device": device}
    if states is None:
        assert case.states == RANDOM, case.states
        hidden_TD = torch.randn(case.rows, case.width, **on)
        weight_VD = torch.randn(case.vocabulary, case.width, **on).mul_(case.width**-0.5)
        labels_T = torch.randint(case.vocabulary, (case.rows,), **on)
    else:
        hidden_TD, weight_VD = states.hidden_TD[: case.rows], states.weight_VD
        labels_T = states.labels_T[: case.rows].to(device, copy=True)
    num_ignored = round(case.ignored_share * case.rows)
    labels_T[torch.randperm(case.rows, **on)[:num_ignored]] = IGNORED
    return Inputs(
        hidden_TD=hidden_TD.to(device, dtype, copy=True).requires_grad_(),
        weight_VD=weight_VD.to(device, dtype, copy=True).requires_grad_(not case.frozen),
        labels_T=labels_T.to(device),
    )
