"""Supervised fine-tuning and Dynamic Fine-Tuning: all weight on the label."""

from dataclasses import dataclass
from typing import ClassVar

import torch

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
class DFT(Objective):
    """Dynamic Fine-Tuning: the log-likelihood, weighted by the label's own probability.

    L = -p log p with the factor p = pi(y) held constant,  w = p e_y

    Source: arXiv:2508.05629.
    """

    name: ClassVar[str] = "dft"

    def weights(self, statistics: Statistics) -> Weights:
        return Weights(label_T=statistics.log_prob_T.exp())
