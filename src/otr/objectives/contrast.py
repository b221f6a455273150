"""Objectives that push other words down beside pushing the label up."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from otr.objectives.options import require_count, require_number
from otr.objectives.seam import Needs, Objective, Statistics, Weights

_LEAST_REST = 1e-5
"""Of 1 - pi(c): where the model is sure of a wrong word, its odds have no bound."""


@dataclass(frozen=True, kw_only=True)
class GEM(Objective):
    """Game-theoretic entropy maximisation: the label against a sharpened policy.

    w = e_y - softmax(z / beta),  L = -log pi(y) + sum_v softmax(z / beta)_v log pi_v

    with both held constant in the gradient, softmax(z / beta) - e_y (the method's linear h): it
    vanishes once the sharpened policy is sure, so that the policy itself keeps its entropy.

    Raises: ValueError unless beta is above 0 and at most 1.
    Source: arXiv:2408.16673.
    """

    name: ClassVar[str] = "gem"

    beta: float = 0.7
    """Temperature of the sharpened policy; the lower, the more entropy is kept. At 1 nothing would
    be kept: the gradient is SFT's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("beta", self.beta, above=0, most=1)

    @property
    def may_be_below_zero(self) -> bool:
        return True

    def needs(self) -> Needs:
        return Needs(temperature=self.beta)

    def weights(self, statistics: Statistics) -> Weights:
        ones_T = torch.ones_like(statistics.log_prob_T)
        return Weights(label_T=ones_T, rollout_policy_T=-ones_T)


@dataclass(frozen=True, kw_only=True)
class Unlikelihood(Objective):
    """The likelihood of the label, and the unlikelihood of the wrong words that were drawn.

    L = -log pi(y) - alpha sum_{c in C} log(1 - pi_c)
    w = e_y - alpha sum_{c in C} pi_c / (1 - pi_c) e_c

    where C is the set of words other than y among `num_rollouts` draws from softmax(z /
    temperature). 1 - pi_c counts as at least 1e-5.

    Raises: ValueError unless alpha is at least 0, num_rollouts a positive count and temperature
    above 0.
    Source: Welleck et al., arXiv:1908.04319; there the wrong words come from the context.
    """

    name: ClassVar[str] = "unlikelihood"

    alpha: float = 1.0
    """Weight of the unlikelihood."""

    num_rollouts: int = 16
    """Words drawn at each token."""

    temperature: float = 1.0
    """Of the policy they are drawn from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("alpha", self.alpha, least=0)
        require_count("num_rollouts", self.num_rollouts)
        require_number("temperature", self.temperature, above=0)

    def needs(self) -> Needs:
        return Needs(
            temperature=self.temperature,
            num_rollouts=self.num_rollouts,
            missed_words=True,
            missed_statistics=True,
        )

    def weights(self, statistics: Statistics) -> Weights:
        assert statistics.missed_log_prob_TK is not None and statistics.num_hits_T is not None
        assert statistics.missed_repeats_TK is not None
        log_prob_TK = statistics.missed_log_prob_TK
        # A draw that hits has log pi 0 here, and does not count.
        missed_TK = log_prob_TK < 0
        rest_TK = (-torch.expm1(log_prob_TK)).clamp(min=_LEAST_REST)
        share_TK = missed_TK * self.alpha / statistics.missed_repeats_TK
        return Weights(
            label_T=torch.ones_like(statistics.log_prob_T),
            missed_TK=-share_TK * log_prob_TK.exp() / rest_TK,
            loss_T=-statistics.log_prob_T - (share_TK * rest_TK.log()).sum(1),
        )
