"""Objectives that weigh a label by the probability the model gives it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from otr.objectives.options import require_number
from otr.objectives.seam import Objective, Statistics, Weights


@dataclass(frozen=True, kw_only=True)
class DFT(Objective):
    """Dynamic Fine-Tuning: the log-likelihood, weighted by the label's own probability.

    L = -p log p with the factor p = pi(y) held constant,  w = p e_y

    Source: arXiv:2508.05629.
    """

    name: ClassVar[str] = "dft"

    def weights(self, statistics: Statistics) -> Weights:
        return Weights(label_T=statistics.log_prob_T.exp())


@dataclass(frozen=True, kw_only=True)
class Power(Objective):
    """The power family: from the likelihood (alpha 0) through DFT's gradient (alpha 1) on.

    L = (1 - p^alpha) / alpha, or -log p for alpha 0;  w = p^alpha e_y

    With a threshold, labels of at most that probability weigh nothing and count as a loss of 0.

    Raises: ValueError unless alpha is at least 0 and threshold at least 0 and below 1.
    Source: arXiv:2510.00526.
    """

    name: ClassVar[str] = "power"

    alpha: float = 1.0
    """Exponent of the label's probability."""

    threshold: float | None = None
    """Labels this improbable or more are left out; None leaves out none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("alpha", self.alpha, least=0)
        if self.threshold is not None:
            require_number("threshold", self.threshold, least=0, below=1)

    def weights(self, statistics: Statistics) -> Weights:
        log_prob_T = statistics.log_prob_T
        weight_T = (self.alpha * log_prob_T).exp()
        loss_T = -log_prob_T
        if self.alpha > 0:
            # Not 1 - p^alpha, which would lose a sure label's digits.
            loss_T = -torch.expm1(self.alpha * log_prob_T) / self.alpha
        if self.threshold is not None:
            counts_T = log_prob_T.exp() > self.threshold
            weight_T, loss_T = weight_T * counts_T, loss_T * counts_T
        return Weights(label_T=weight_T, loss_T=loss_T)


@dataclass(frozen=True, kw_only=True)
class Focal(Objective):
    """Focal loss: improbable labels count more, the opposite direction of DFT.

    L = -(1 - p)^gamma log p,  w = ((1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p) e_y

    Raises: ValueError unless gamma is 0 or at least 1: between, the weight of a sure label has no
    bound.
    Source: Lin et al., arXiv:1708.02002.
    """

    name: ClassVar[str] = "focal"

    gamma: float = 2.0
    """Exponent of the probability that the label does not have; 0 is SFT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("gamma", self.gamma, least=0)
        if 0 < self.gamma < 1:
            raise ValueError(f"gamma must be 0 or at least 1, found {self.gamma!r}")

    def weights(self, statistics: Statistics) -> Weights:
        log_prob_T = statistics.log_prob_T
        rest_T = -torch.expm1(log_prob_T)
        factor_T = rest_T.pow(self.gamma)
        weight_T = factor_T
        if self.gamma > 0:
            slope_T = self.gamma * rest_T.pow(self.gamma - 1)
            weight_T = factor_T - slope_T * log_prob_T.exp() * log_prob_T
        return Weights(label_T=weight_T, loss_T=-factor_T * log_prob_T)
