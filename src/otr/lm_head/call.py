"""What a head is asked, and what it answers.

Shapes: T tokens, D width, V vocabulary, K rollouts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from otr.objectives import Needs, Objective, Statistics

IGNORED = -100
"""The label of a token that is not supervised."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments that every head shares, checked and complete."""

    labels_T: Tensor
    objective: Objective
    logit_scale: float
    logit_softcap: float | None
    seed: int
    keys_T: Tensor
    num_tokens: Tensor
    return_rollouts: bool
    compaction: float | None
    token_weights_T: Tensor | None = None
    reference_TD: Tensor | None = None
    reference_weight_VD: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class HeadOutput:
    """The loss, and what is known of each token.

    Per-token tensors have shape (T,), carry no gradient and are 0 where the label is ignored.
    """

    loss: Tensor
    """Sum of the tokens' losses, weighted where weights were given, over the divisor; scalar, in
    nats, differentiable."""

    log_prob: Tensor
    """log pi(y) in nats."""

    entropy: Tensor
    """H(pi) in nats."""

    hit_rate: Tensor
    """Share of the draws that hit the label, n_y / K; or the chance q_y of one draw, with q = pi
    for an objective without a rollout policy."""

    reward: Tensor
    """Mean reward of the draws, or its expectation; `hit_rate` for an objective without one."""

    target_weight: Tensor
    """Weight w_y on the label, all parts of w together."""

    is_top1: Tensor
    """1 where the label is the most probable word."""

    rollouts: Tensor | None = None
    """The drawn words, (T, K) int64, -1 where the label is ignored; None unless asked for."""

    kept_fraction: Tensor | None = None
    """Share of the supervised tokens' logits whose gradient entered the matrix products, scalar, on
    the CPU; None where none could be left out."""


PER_TOKEN = ("log_prob", "entropy", "hit_rate", "reward", "target_weight", "is_top1")
"""The per-token fields of `HeadOutput`, rollouts apart."""


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 where any input is float64, float32 for everything else."""
    return (
        torch.float64
        if any(tensor is not None and tensor.dtype == torch.float64 for tensor in tensors)
        else torch.float32
    )


def hit_rate(statistics: Statistics, needs: Needs) -> Tensor:
    """Share of the draws that hit the label; without draws, the chance of one. (T,)"""
    if statistics.num_hits_T is not None:
        return statistics.num_hits_T / needs.num_rollouts
    if statistics.rollout_prob_T is not None:
        return statistics.rollout_prob_T
    return statistics.log_prob_T.exp()
