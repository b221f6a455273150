"""Supervised fine-tuning, plain and with smoothed labels: weights that do not look at the model."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from otr.objectives.options import require_number
from otr.objectives.seam import Objective, Statistics, Weights


@dataclass(frozen=True, kw_only=True)
class SFT(Objective):
    """Supervised fine-tuning: the negative log-likelihood.

    L = -log pi(y),  w = e_y
    """

    name: ClassVar[str] = "sft"

    def weights(self, statistics: Statistics) -> Weights:
        return Weights(label_T=torch.ones_like(statistics.log_prob_T))


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Objective):
    """The likelihood of the label, with a share of the weight spread over the whole vocabulary.

    L = -(1 - epsilon) log pi(y) - (epsilon / V) sum_v log pi_v,  w = (1 - epsilon) e_y + epsilon / V

    Raises: ValueError unless epsilon is at least 0 and below 1.
    Source: Szegedy et al., arXiv:1512.00567.
    """

    name: ClassVar[str] = "label-smoothing"

    epsilon: float = 0.1
    """Share of the weight that is spread."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("epsilon", self.epsilon, least=0, below=1)

    def weights(self, statistics: Statistics) -> Weights:
        ones_T = torch.ones_like(statistics.log_prob_T)
        return Weights(label_T=(1 - self.epsilon) * ones_T, uniform_T=self.epsilon * ones_T)
