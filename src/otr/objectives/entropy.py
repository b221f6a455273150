"""Objectives that weigh a label by how undecided the model is."""

import math
from dataclasses import dataclass
from typing import ClassVar

from otr.objectives.options import require_number
from otr.objectives.seam import Needs, Objective, Statistics, Weights

_WORDS = 20


@dataclass(frozen=True, kw_only=True)
class EAFT(Objective):
    """Entropy-adaptive fine-tuning: a label the model is sure against weighs little.

    L = -(H_20 / log 20)^alpha log pi(y) with the factor held constant,  w = (H_20 / log 20)^alpha e_y

    where H_20 is the entropy of the 20 most probable words, renormalised among themselves.

    Raises: ValueError unless alpha is at least 0.
    Source: arXiv:2601.02151.
    """

    name: ClassVar[str] = "eaft"

    alpha: float = 1.0
    """Exponent of the normalised entropy; 0 is SFT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("alpha", self.alpha, least=0)

    def needs(self) -> Needs:
        return Needs(top_entropy=_WORDS)

    def weights(self, statistics: Statistics) -> Weights:
        assert statistics.top_entropy_T is not None
        share_T = (statistics.top_entropy_T / math.log(_WORDS)).clamp(min=0)
        return Weights(label_T=share_T.pow(self.alpha))
