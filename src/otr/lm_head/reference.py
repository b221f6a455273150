"""The truth: plain autograd on the full logits, in the input's precision.

Written for reading, not for speed: it makes [T, V] tensors. Every other backend is held to it.

Shapes: T tokens, D width, V vocabulary, K rollouts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from otr.lm_head import rollouts
from otr.lm_head.call import IGNORED, Call, HeadOutput, compute_dtype, hit_rate
from otr.objectives import Needs, Objective, Statistics, Weights


def linear_head(
    hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, call: Call
) -> HeadOutput:
    """The loss of hidden states under a head's weight; see `otr.linear_loss`."""
    dtype = compute_dtype(hidden_TD, weight_VD)
    logits_TV = hidden_TD.to(dtype) @ weight_VD.to(dtype).T
    if bias_V is not None:
        logits_TV = logits_TV + bias_V.to(dtype)
    log_rho_TV = None
    if call.reference_TD is not None and call.reference_weight_VD is not None:
        with torch.no_grad():
            raw_TV = call.reference_TD.to(dtype) @ call.reference_weight_VD.to(dtype).T
            log_rho_TV = _transformed(raw_TV, call).log_softmax(-1)
    return logits_head(logits_TV, call, log_rho_TV)


def logits_head(logits_TV: Tensor, call: Call, log_rho_TV: Tensor | None = None) -> HeadOutput:
    """The loss of raw logits; see `otr.logits_loss`."""
    kept_T = call.labels_T != IGNORED
    labels_T = call.labels_T[kept_T]
    logits_TV = _transformed(logits_TV.to(compute_dtype(logits_TV))[kept_T], call)
    log_pi_TV = logits_TV.log_softmax(-1)
    needs = call.objective.needs()
    with torch.no_grad():
        found = token_weights(call.objective, logits_TV, labels_T, call.keys_T[kept_T], call.seed)
    losses_T = -(found.weights_TV * log_pi_TV).sum(-1)
    if found.entropy_weight_T is not None:
        losses_T = losses_T + found.entropy_weight_T * (log_pi_TV.exp() * log_pi_TV).sum(-1)
    factor_T = torch.ones_like(losses_T)
    if call.token_weights_T is not None:
        factor_T = call.token_weights_T[kept_T].to(losses_T)
    loss = (factor_T * losses_T).sum() / call.num_tokens
    if found.loss_T is not None:
        # The value of one expression with the gradient of the other.
        loss = loss + ((factor_T * found.loss_T).sum() / call.num_tokens - loss).detach()
    anchor = call.objective.anchor
    if anchor is not None and log_rho_TV is not None:
        log_rho_TV = log_rho_TV[kept_T]
        pair = (log_pi_TV, log_rho_TV) if anchor.direction == "forward" else (log_rho_TV, log_pi_TV)
        # KL(exp(second) || exp(first)).
        terms_TV = torch.nn.functional.kl_div(*pair, reduction="none", log_target=True)
        loss = loss + anchor.kl * (factor_T @ terms_TV.sum(-1)) / call.num_tokens

    label_weight_T = found.weights_TV.gather(1, labels_T[:, None])[:, 0]
    if anchor is not None and log_rho_TV is not None and anchor.direction == "forward":
        log_rho_T = log_rho_TV.gather(1, labels_T[:, None])[:, 0]
        label_weight_T = label_weight_T + anchor.kl * log_rho_T.exp()
    is_top1_T = (logits_TV.argmax(-1) == labels_T).to(logits_TV.dtype)

    def everywhere(value_T: Tensor) -> Tensor:
        return value_T.new_zeros(kept_T.shape).masked_scatter(kept_T, value_T.detach())

    all_words_TK = None
    if call.return_rollouts and found.words_TK is not None:
        all_words_TK = found.words_TK.new_full((len(kept_T), needs.num_rollouts), -1)
        all_words_TK[kept_T] = found.words_TK
    return HeadOutput(
        loss=loss,
        log_prob=everywhere(found.log_prob_T),
        entropy=everywhere(found.entropy_T),
        hit_rate=everywhere(found.hit_rate_T),
        reward=everywhere(found.reward_T),
        target_weight=everywhere(label_weight_T),
        is_top1=everywhere(is_top1_T),
        rollouts=all_words_TK,
    )


@dataclass(kw_only=True)
class TokenWeights:
    """What an objective makes of each supervised token."""

    weights_TV: Tensor
    """w over the whole vocabulary, an anchor's part apart."""

    entropy_weight_T: Tensor | None
    """tau of an entropy bonus."""

    loss_T: Tensor | None
    """The loss, where it is another expression than -sum_v w_v log pi_v; bonus included."""

    log_prob_T: Tensor
    entropy_T: Tensor
    hit_rate_T: Tensor
    reward_T: Tensor

    temperature_T: Tensor | None
    """Of the rollout policy."""

    words_TK: Tensor | None
    """The drawn words."""


def token_weights(
    objective: Objective, logits_TV: Tensor, labels_T: Tensor, keys_T: Tensor, seed: int
) -> TokenWeights:
    """The weights that an objective gives, and what they were made of.

    Shapes: logits (T, V) as the policy has them, after scale and softcap, in float32 or float64;
    labels and keys (T,), none ignored.
    """
    needs = objective.needs()
    words_TK = _draw(logits_TV, labels_T, needs, seed, keys_T)
    statistics = _statistics(logits_TV, labels_T, needs, words_TK)
    weights = objective.all_weights(statistics)
    hit_rate_T = hit_rate(statistics, needs)
    found = TokenWeights(
        weights_TV=_dense(weights, logits_TV, labels_T, needs, words_TK),
        entropy_weight_T=weights.entropy_T,
        loss_T=weights.loss_T,
        log_prob_T=statistics.log_prob_T,
        entropy_T=statistics.entropy_T,
        hit_rate_T=hit_rate_T,
        reward_T=hit_rate_T.clone() if weights.reward_T is None else weights.reward_T,
        temperature_T=None
        if needs.temperature is None
        else torch.full_like(hit_rate_T, needs.temperature),
        words_TK=words_TK,
    )
    substitute = objective.substitute(statistics)
    if substitute is not None and substitute[0].any():
        which_T, other = substitute
        others = token_weights(other, logits_TV[which_T], labels_T[which_T], keys_T[which_T], seed)
        for name, value in vars(others).items():
            if value is not None:
                getattr(found, name)[which_T] = value
    return found


def _transformed(raw_TV: Tensor, call: Call) -> Tensor:
    logits_TV = raw_TV * call.logit_scale
    if call.logit_softcap is not None:
        logits_TV = call.logit_softcap * torch.tanh(logits_TV / call.logit_softcap)
    return logits_TV


def _draw(
    logits_TV: Tensor, labels_T: Tensor, needs: Needs, seed: int, keys_T: Tensor
) -> Tensor | None:
    if needs.num_rollouts == 0:
        return None
    assert needs.temperature is not None
    q_TV = (logits_TV / needs.temperature).softmax(-1)
    label_prob_T = q_TV.gather(1, labels_T[:, None])[:, 0]
    hits_TK = rollouts.hits(seed, keys_T, label_prob_T, needs.num_rollouts)
    top_T = logits_TV.amax(-1)
    masses_TB = rollouts.block_masses(logits_TV, top_T, needs.temperature)
    return rollouts.missed_words(
        seed, keys_T, hits_TK, logits_TV, labels_T, top_T, masses_TB, needs.temperature
    )


def _statistics(
    logits_TV: Tensor, labels_T: Tensor, needs: Needs, words_TK: Tensor | None
) -> Statistics:
    log_pi_TV = logits_TV.log_softmax(-1)
    rollout_prob_T = num_hits_T = missed_log_prob_TK = missed_repeats_TK = top_entropy_T = None
    if needs.temperature is not None:
        q_TV = (logits_TV / needs.temperature).softmax(-1)
        rollout_prob_T = q_TV.gather(1, labels_T[:, None])[:, 0]
    if words_TK is not None:
        hit_TK = words_TK == labels_T[:, None]
        num_hits_T = hit_TK.sum(-1).to(logits_TV.dtype)
    if words_TK is not None and needs.missed_statistics:
        hit_TK = words_TK == labels_T[:, None]
        missed_log_prob_TK = log_pi_TV.gather(1, words_TK)
        missed_log_prob_TK.clamp_(max=-torch.finfo(logits_TV.dtype).tiny)
        missed_log_prob_TK.masked_fill_(hit_TK, 0)
        missed_repeats_TK = (words_TK[:, :, None] == words_TK[:, None, :]).sum(-1)
    if needs.top_entropy:
        top_log_pi = logits_TV.topk(needs.top_entropy, -1).values.log_softmax(-1)
        top_entropy_T = -(top_log_pi.exp() * top_log_pi).sum(-1)
    return Statistics(
        log_prob_T=log_pi_TV.gather(1, labels_T[:, None])[:, 0].clamp(max=0),
        entropy_T=-(log_pi_TV.exp() * log_pi_TV).sum(-1),
        rollout_prob_T=rollout_prob_T,
        num_hits_T=num_hits_T,
        missed_log_prob_TK=missed_log_prob_TK,
        missed_repeats_TK=missed_repeats_TK,
        top_entropy_T=top_entropy_T,
    )


def _dense(
    weights: Weights, logits_TV: Tensor, labels_T: Tensor, needs: Needs, words_TK: Tensor | None
) -> Tensor:
    """The weight vector of every token over the whole vocabulary, (T, V)."""
    weights_TV = torch.zeros_like(logits_TV)
    weights_TV.scatter_(1, labels_T[:, None], weights.label_T[:, None])
    if weights.rollout_policy_T is not None:
        assert needs.temperature is not None
        weights_TV += weights.rollout_policy_T[:, None] * (logits_TV / needs.temperature).softmax(
            -1
        )
    if weights.uniform_T is not None:
        weights_TV += weights.uniform_T[:, None] / logits_TV.shape[1]
    if weights.missed_TK is not None:
        assert words_TK is not None
        missed = weights.missed_TK.expand(words_TK.shape)
        weights_TV.scatter_add_(1, words_TK, missed.masked_fill(words_TK == labels_T[:, None], 0))
    return weights_TV
