"""The objectives by their definitions, for holding the backends to.

Nothing here uses the package's weights or statistics: each loss is written as its paper has it,
over float64 logits, and differentiated by autograd.

Shapes: T tokens, V vocabulary, K rollouts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from otr.objectives import (
    DFT,
    EAFT,
    GEM,
    OTR,
    SFT,
    Focal,
    LabelSmoothing,
    Needs,
    Objective,
    Power,
    Statistics,
    Unlikelihood,
    Weights,
)

Definition = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Logits (T, V), labels (T,) and drawn words (T, K) to losses (T,)."""


def _of_label(values_TV: Tensor, labels_T: Tensor) -> Tensor:
    return values_TV.gather(1, labels_T[:, None])[:, 0]


def sft(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    return torch.nn.functional.cross_entropy(logits_TV, labels_T, reduction="none")


def dft(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    p_T = _of_label(logits_TV.softmax(-1), labels_T)
    return -p_T.detach() * p_T.log()


def otr_sampled(wrong_reward: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        assert words_TK is not None
        hit_TK = (words_TK == labels_T[:, None]).to(logits_TV.dtype)
        reward_TK = hit_TK + wrong_reward * (1 - hit_TK)
        return -(reward_TK * logits_TV.log_softmax(-1).gather(1, words_TK)).mean(1)

    return loss


def otr_exact(temperature: float, wrong_reward: float) -> Definition:
    """The expectation of the sampled loss: every word's reward, weighted by its probability."""

    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        q_TV = (logits_TV / temperature).softmax(-1).detach()
        reward_TV = torch.full_like(q_TV, wrong_reward).scatter(1, labels_T[:, None], 1.0)
        return -(q_TV * reward_TV * logits_TV.log_softmax(-1)).sum(-1)

    return loss


def otr_exact_adaptive(
    temperature: float, wrong_reward: float, least_chance: float, max_temperature: float
) -> Definition:
    """Of each token the first doubled temperature at which its label has the chance, or the last."""

    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        losses = []
        for logits_V, label in zip(logits_TV, labels_T, strict=True):
            kappa = temperature
            while (logits_V / kappa).softmax(-1)[label] < least_chance:
                if 2 * kappa > max_temperature:
                    break
                kappa *= 2
            one = otr_exact(kappa, wrong_reward)(logits_V[None], label[None], None)
            losses.append(one[0])
        return torch.stack(losses)

    return loss


def mixed(share: float, first: Definition, second: Definition) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        own = second(logits_TV, labels_T, words_TK)
        return share * first(logits_TV, labels_T, words_TK) + (1 - share) * own

    return loss


def label_smoothing(epsilon: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        return torch.nn.functional.cross_entropy(
            logits_TV, labels_T, reduction="none", label_smoothing=epsilon
        )

    return loss


def power(alpha: float, threshold: float = -1.0) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        p_T = _of_label(logits_TV.softmax(-1), labels_T)
        value_T = -p_T.log() if alpha == 0 else (1 - p_T**alpha) / alpha
        return value_T * (p_T > threshold).detach()

    return loss


def eaft(alpha: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        top = torch.distributions.Categorical(logits=logits_TV.detach().topk(20).values)
        share_T = top.entropy() / torch.tensor(20.0, dtype=torch.float64).log()
        return share_T**alpha * sft(logits_TV, labels_T, None)

    return loss


def focal(gamma: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        p_T = _of_label(logits_TV.softmax(-1), labels_T)
        return -((1 - p_T) ** gamma) * p_T.log()

    return loss


def gem(beta: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        sharp_TV = (logits_TV / beta).softmax(-1).detach()
        log_pi_TV = logits_TV.log_softmax(-1)
        return (sharp_TV * log_pi_TV).sum(-1) - _of_label(log_pi_TV, labels_T)

    return loss


def unlikelihood(alpha: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        assert words_TK is not None
        drawn_TV = torch.zeros_like(logits_TV).scatter(1, words_TK, 1.0)
        drawn_TV = drawn_TV.scatter(1, labels_T[:, None], 0.0)
        rest_TV = (1 - logits_TV.softmax(-1)).clamp(min=1e-5)
        return sft(logits_TV, labels_T, None) - alpha * (drawn_TV * rest_TV.log()).sum(-1)

    return loss


def with_bonus(definition: Definition, coefficient: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        entropy_T = torch.distributions.Categorical(logits=logits_TV).entropy()
        return definition(logits_TV, labels_T, words_TK) - coefficient * entropy_T

    return loss


def dft_with_floor(floor: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        p_T = _of_label(logits_TV.softmax(-1), labels_T)
        return -p_T.detach().clamp(min=floor) * p_T.log()

    return loss


def otr_with_floor(wrong_reward: float, floor: float) -> Definition:
    def loss(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
        assert words_TK is not None
        log_pi_TV = logits_TV.log_softmax(-1)
        hit_TK = (words_TK == labels_T[:, None]).to(logits_TV.dtype)
        wrong_T = (wrong_reward * (1 - hit_TK) * log_pi_TV.gather(1, words_TK)).mean(1)
        return -hit_TK.mean(1).clamp(min=floor) * _of_label(log_pi_TV, labels_T) - wrong_T

    return loss


# Objectives that the package does not have: they show that the seam carries other families.


@dataclass(frozen=True)
class Smoothed(Objective):
    name = "smoothed"
    epsilon = 0.1

    def weights(self, statistics: Statistics) -> Weights:
        ones_T = torch.ones_like(statistics.log_prob_T)
        return Weights(label_T=(1 - self.epsilon) * ones_T, uniform_T=self.epsilon * ones_T)


def smoothed(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    return torch.nn.functional.cross_entropy(
        logits_TV, labels_T, reduction="none", label_smoothing=0.1
    )


@dataclass(frozen=True)
class Contrast(Objective):
    """The label against a sharpened policy: e_y - softmax(z / 0.7)."""

    name = "contrast"

    def needs(self) -> Needs:
        return Needs(temperature=0.7)

    def weights(self, statistics: Statistics) -> Weights:
        ones_T = torch.ones_like(statistics.log_prob_T)
        return Weights(label_T=ones_T, rollout_policy_T=-ones_T)


def contrast(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    q_TV = (logits_TV / 0.7).softmax(-1).detach()
    log_pi_TV = logits_TV.log_softmax(-1)
    return -_of_label(log_pi_TV, labels_T) + (q_TV * log_pi_TV).sum(-1)


@dataclass(frozen=True)
class WithEntropy(Objective):
    name = "with-entropy"

    def weights(self, statistics: Statistics) -> Weights:
        ones_T = torch.ones_like(statistics.log_prob_T)
        return Weights(label_T=ones_T, entropy_T=0.3 * ones_T)


def with_entropy(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    entropy_T = torch.distributions.Categorical(logits=logits_TV).entropy()
    return sft(logits_TV, labels_T, None) - 0.3 * entropy_T


@dataclass(frozen=True)
class Unlikely(Objective):
    """Pushes each distinct wrong word that was drawn down by pi / (1 - pi)."""

    name = "unlikely"

    def needs(self) -> Needs:
        return Needs(temperature=1.2, num_rollouts=9, missed_words=True, missed_statistics=True)

    def weights(self, statistics: Statistics) -> Weights:
        assert statistics.missed_log_prob_TK is not None
        assert statistics.missed_repeats_TK is not None
        prob_TK = statistics.missed_log_prob_TK.exp()
        return Weights(
            label_T=torch.ones_like(statistics.log_prob_T),
            missed_TK=-prob_TK / (1 - prob_TK) / statistics.missed_repeats_TK,
        )


def unlikely(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    assert words_TK is not None
    log_pi_TV = logits_TV.log_softmax(-1)
    drawn_TV = torch.zeros_like(logits_TV).scatter(1, words_TK, 1.0)
    drawn_TV = drawn_TV.scatter(1, labels_T[:, None], 0.0)
    pi_TV = log_pi_TV.exp().detach()
    odds_TV = torch.where(drawn_TV > 0, pi_TV / (1 - pi_TV), 0.0)
    return -_of_label(log_pi_TV, labels_T) + (odds_TV * log_pi_TV).sum(-1)


@dataclass(frozen=True)
class ByTopEntropy(Objective):
    name = "by-top-entropy"

    def needs(self) -> Needs:
        return Needs(top_entropy=20)

    def weights(self, statistics: Statistics) -> Weights:
        assert statistics.top_entropy_T is not None
        weight_T = statistics.top_entropy_T / torch.tensor(20.0).log()
        return Weights(label_T=weight_T, loss_T=-statistics.log_prob_T)


def by_top_entropy(logits_TV: Tensor, labels_T: Tensor, words_TK: Tensor | None) -> Tensor:
    """Reports the NLL; its gradient is weighted by the entropy of the 20 likeliest words."""
    top = torch.distributions.Categorical(logits=logits_TV.detach().topk(20).values)
    nll_T = sft(logits_TV, labels_T, None)
    weighted_T = nll_T * top.entropy() / torch.tensor(20.0).log()
    return weighted_T + (nll_T - weighted_T).detach()


CASES: dict[str, tuple[Objective, Definition]] = {
    "sft": (SFT(), sft),
    "dft": (DFT(), dft),
    "otr": (OTR(), otr_sampled(-0.1)),
    "otr-no-punishment": (OTR(wrong_reward=0.0), otr_sampled(0.0)),
    "otr-few": (OTR(num_rollouts=5, temperature=2.0, wrong_reward=-0.7), otr_sampled(-0.7)),
    "otr-exact": (OTR(num_rollouts="exact"), otr_exact(1.3, -0.1)),
    "otr-exact-self": (
        OTR(num_rollouts="exact", temperature=1.0, wrong_reward=0.2),
        otr_exact(1.0, 0.2),
    ),
    "otr-adaptive": (OTR(num_rollouts=64, least_chance=0.02), otr_sampled(-0.1)),
    "otr-adaptive-with-floor": (
        OTR(num_rollouts=32, least_chance=0.02, floor=0.05),
        otr_with_floor(-0.1, 0.05),
    ),
    "otr-exact-adaptive": (
        OTR(num_rollouts="exact", least_chance=0.01, max_temperature=8.0),
        otr_exact_adaptive(1.3, -0.1, 0.01, 8.0),
    ),
    "otr-mixed": (OTR(sft_share=0.3), mixed(0.3, sft, otr_sampled(-0.1))),
    "otr-exact-mixed": (
        OTR(num_rollouts="exact", sft_share=0.6),
        mixed(0.6, sft, otr_exact(1.3, -0.1)),
    ),
    "otr-all-sft": (OTR(sft_share=1.0), sft),
    "label-smoothing": (LabelSmoothing(epsilon=0.2), label_smoothing(0.2)),
    "power": (Power(alpha=0.5), power(0.5)),
    "power-of-nothing": (Power(alpha=0.0), power(0.0)),
    "power-above": (Power(alpha=2.0, threshold=0.3), power(2.0, 0.3)),
    "eaft": (EAFT(alpha=0.7), eaft(0.7)),
    "focal": (Focal(), focal(2.0)),
    "focal-at-its-edge": (Focal(gamma=1.0), focal(1.0)),
    "gem": (GEM(), gem(0.7)),
    "unlikelihood": (Unlikelihood(alpha=0.8, temperature=1.2), unlikelihood(0.8)),
    "sft-with-bonus": (SFT(entropy_bonus=0.2), with_bonus(sft, 0.2)),
    "otr-with-bonus": (OTR(entropy_bonus=0.1), with_bonus(otr_sampled(-0.1), 0.1)),
    "power-with-bonus": (Power(alpha=0.5, entropy_bonus=0.2), with_bonus(power(0.5), 0.2)),
    "dft-with-floor": (DFT(floor=0.1), dft_with_floor(0.1)),
    "otr-with-floor": (OTR(floor=1 / 256), otr_with_floor(-0.1, 1 / 256)),
    "smoothed": (Smoothed(), smoothed),
    "contrast": (Contrast(), contrast),
    "with-entropy": (WithEntropy(), with_entropy),
    "unlikely": (Unlikely(), unlikely),
    "by-top-entropy": (ByTopEntropy(), by_top_entropy),
}

ILL_CONDITIONED = {"unlikelihood"}
"""Where 1 - pi of a nearly sure word magnifies the rounding of both sides."""
