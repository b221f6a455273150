"""The seam between the head and an objective.

The head computes a few statistics of every token; an objective is a pure function from those to
the weights w over the vocabulary; the head applies

    L = -sum_v w_v log pi_v        dL/dz = W pi - w,   W = sum_v w_v

with w held constant. Objectives never see logits, kernels or chunks; the head never sees an
objective's name. The general form is that of arXiv:2606.11189 and arXiv:2602.11424.

Shapes: T tokens, K rollouts. All tensors are float32 or float64, without gradient.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from otr.objectives.options import require_number


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an objective asks the head to compute, beyond what every objective gets."""

    temperature: float | None = None
    """Of the rollout policy q = softmax(z / temperature); None where there is no such policy."""

    num_rollouts: int = 0
    """Words drawn from q at each token; 0 for none."""

    missed_words: bool = False
    """Whether it matters which words the draws that miss the label are, or only how many."""

    missed_statistics: bool = False
    """Whether it reads `missed_log_prob_TK` and `missed_repeats_TK`."""

    top_entropy: int = 0
    """Size of the set of most probable words whose entropy is wanted; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What an objective may read of each token. Logarithms are natural."""

    log_prob_T: Tensor
    """log pi(y), at most 0."""

    entropy_T: Tensor
    """H(pi) in nats."""

    rollout_prob_T: Tensor | None = None
    """q(y), the chance that one draw hits the label."""

    num_hits_T: Tensor | None = None
    """Draws that hit the label, of `num_rollouts`."""

    missed_log_prob_TK: Tensor | None = None
    """log pi of the word of each draw that misses, below 0; 0 where the draw hits."""

    missed_repeats_TK: Tensor | None = None
    """How many draws of the same token share that word, at least 1."""

    top_entropy_T: Tensor | None = None
    """Entropy of the most probable words, renormalised among themselves."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weight vector of each token, as the sum of a few parts; None is zero.

    w_v = label 1[v = y] + rollout_policy q_v + uniform / V + sum_k missed_k 1[v = a_k]

    where the last sum runs over the draws a_k that miss the label.
    """

    label_T: Tensor
    """Weight on the label."""

    rollout_policy_T: Tensor | None = None
    """Weight on the whole rollout policy q."""

    uniform_T: Tensor | None = None
    """Weight spread evenly over the vocabulary."""

    missed_TK: Tensor | None = None
    """Weight of each draw that misses the label; (T, 1) where all draws weigh the same. What
    stands where a draw hits is not read."""

    entropy_T: Tensor | None = None
    """Coefficient tau of an entropy bonus: adds -tau H(pi) to the loss."""

    loss_T: Tensor | None = None
    """The loss to report, where it is another expression than -sum_v w_v log pi_v."""

    reward_T: Tensor | None = None
    """Mean reward of a draw; the chance of a hit where the objective has no reward."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Keeps the policy pi near a reference policy rho: adds kl times a divergence to the loss.

    forward   KL(rho || pi) = sum_v rho_v log(rho_v / pi_v);  w += kl rho
    reverse   KL(pi || rho) = sum_v pi_v log(pi_v / rho_v)

    in nats, over the whole vocabulary, at each supervised token. Coefficients of other conventions
    (a sampled word's log-ratio, a mean over the vocabulary) do not carry over.

    Raises: ValueError unless kl is above 0 and the direction one of the two.
    Source: DFT with a forward anchor is ASFT, arXiv:2509.23753.
    """

    kl: float = 0.05
    """Coefficient lambda of the divergence."""

    direction: Literal["forward", "reverse"] = "forward"
    """From the reference to the policy, which covers what the reference does, or back, which
    keeps to what the reference does most."""

    def __post_init__(self) -> None:
        require_number("kl", self.kl, above=0)
        if self.direction not in ("forward", "reverse"):
            raise ValueError(f"direction must be forward or reverse, found {self.direction!r}")


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """A training objective: options as a frozen dataclass, and a pure map to weights.

    Raises: ValueError that names the option if one is out of its range.
    """

    name: ClassVar[str]
    """What a run file calls it."""

    floor: float = 0.0
    """Least weight on the label. 1 / num_rollouts counts the label among the draws, so that a label
    that no draw hits is still learned."""

    entropy_bonus: float = 0.0
    """Coefficient tau of an entropy bonus: adds -tau H(pi) to the loss."""

    anchor: Anchor | None = None
    """Keeps the policy near a reference policy; None for none."""

    def __post_init__(self) -> None:
        require_number("floor", self.floor, least=0)
        if self.anchor is not None and not isinstance(self.anchor, Anchor):
            raise ValueError(
                f"anchor must be an Anchor (in a run file: {{kl: 0.05}}), found {self.anchor!r}"
            )
        require_number("entropy_bonus", self.entropy_bonus)

    def needs(self) -> Needs:
        """What the head must compute for it."""
        return Needs()

    @abstractmethod
    def weights(self, statistics: Statistics) -> Weights:
        """The objective's own weights w of each token, before floor and bonus.

        Shapes: every tensor as in `Statistics` and `Weights`.
        """

    def substitute(self, statistics: Statistics) -> "tuple[Tensor, Objective] | None":
        """Tokens that another objective of the same kind stands in for: a mask, (T,) bool, and that
        objective; None for none. Of the statistics, nothing that needs draws is known yet."""
        return None

    @property
    def may_be_below_zero(self) -> bool:
        """Whether its loss may be below 0, which is worth a word: cross-entropy's never is."""
        return self.entropy_bonus > 0

    def at(self, progress: float) -> "Objective":
        """The objective at a share of the training between 0 and 1; itself unless it has a
        schedule."""
        return self

    def all_weights(self, statistics: Statistics) -> Weights:
        """The weights with floor and bonus: what the head applies."""
        weights = self.weights(statistics)
        if self.floor > 0:
            label_T = weights.label_T.clamp(min=self.floor)
            loss_T = weights.loss_T
            if loss_T is not None:
                loss_T = loss_T - (label_T - weights.label_T) * statistics.log_prob_T
            weights = dataclasses.replace(weights, label_T=label_T, loss_T=loss_T)
        if self.entropy_bonus != 0:
            bonus_T = torch.full_like(weights.label_T, self.entropy_bonus)
            loss_T = weights.loss_T
            if weights.entropy_T is not None:
                bonus_T = bonus_T + weights.entropy_T
            if loss_T is not None:
                loss_T = loss_T - self.entropy_bonus * statistics.entropy_T
            weights = dataclasses.replace(weights, entropy_T=bonus_T, loss_T=loss_T)
        return weights
