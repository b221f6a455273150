"""Statistics, rollouts and the in-place gradient of a chunk of rows of logits.

Exponentials are made in blocks of columns that stay in the processor's cache.

Shapes: R rows, V vocabulary, K rollouts. `shifted` logits are z - max z.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from otr.lm_head import rollouts
from otr.lm_head.call import Call, hit_rate
from otr.objectives import Needs, Statistics, Weights

_COLUMNS = 4096


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What was found of each row."""

    losses_R: Tensor
    per_token: dict[str, Tensor]
    words_RK: Tensor | None


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Sums over the vocabulary; logarithms are of the shifted logits."""

    top_R: Tensor
    log_total_R: Tensor
    entropy_R: Tensor
    rollout_log_total_R: Tensor | None
    rollout_mean_R: Tensor | None


def process_rows(logits_RV: Tensor, index: Tensor, call: Call, gradient: bool) -> Rows:
    """Losses and statistics of raw logits; with `gradient`, they are overwritten with dL/dlogits,
    divided by the call's number of tokens."""
    labels_R, keys_R = call.labels_T[index], call.keys_T[index]
    needs = call.objective.needs()
    if call.logit_scale != 1.0:
        logits_RV *= call.logit_scale
    if call.logit_softcap is not None:
        logits_RV.div_(call.logit_softcap).tanh_().mul_(call.logit_softcap)

    sums = _sums(logits_RV, needs)
    label_logit_R = logits_RV.gather(1, labels_R[:, None])[:, 0]
    words_RK = _draw(logits_RV, labels_R, keys_R, sums, needs, call)
    statistics = _statistics(logits_RV, labels_R, sums, needs, words_RK)
    weights = call.objective.weights(statistics)
    losses_R = _losses(logits_RV, labels_R, sums, statistics, weights, words_RK)
    hit_rate_R = hit_rate(statistics, needs)
    per_token = {
        "log_prob": statistics.log_prob_T,
        "entropy": statistics.entropy_T,
        "hit_rate": hit_rate_R,
        "reward": hit_rate_R if weights.reward_T is None else weights.reward_T,
        "target_weight": _label_weight(weights, statistics, logits_RV.shape[1]),
        "is_top1": label_logit_R == sums.top_R,
    }
    if gradient:
        _overwrite_with_gradient(logits_RV, labels_R, sums, weights, words_RK, needs, call)
    return Rows(losses_R=losses_R, per_token=per_token, words_RK=words_RK)


def _sums(logits_RV: Tensor, needs: Needs) -> _Sums:
    top_R = logits_RV.amax(1)
    total_R, weighted_R = torch.zeros_like(top_R), torch.zeros_like(top_R)
    rollout_total_R, rollout_weighted_R = torch.zeros_like(top_R), torch.zeros_like(top_R)
    for block in logits_RV.split(_COLUMNS, dim=1):
        shifted = block - top_R[:, None]
        exponential = shifted.exp()
        total_R += exponential.sum(1)
        weighted_R += exponential.mul_(shifted).sum(1)
        if needs.temperature is not None:
            exponential = torch.div(shifted, needs.temperature, out=exponential).exp_()
            rollout_total_R += exponential.sum(1)
            rollout_weighted_R += exponential.mul_(shifted).sum(1)
    log_total_R = total_R.log()
    return _Sums(
        top_R=top_R,
        log_total_R=log_total_R,
        entropy_R=(log_total_R - weighted_R / total_R).clamp_(min=0),
        rollout_log_total_R=None if needs.temperature is None else rollout_total_R.log(),
        rollout_mean_R=None if needs.temperature is None else rollout_weighted_R / rollout_total_R,
    )


def _draw(
    logits_RV: Tensor, labels_R: Tensor, keys_R: Tensor, sums: _Sums, needs: Needs, call: Call
) -> Tensor | None:
    """The word of each draw; where only the number of hits matters, -1 for every miss."""
    if needs.num_rollouts == 0:
        return None
    assert needs.temperature is not None
    label_prob_R = _rollout_prob(logits_RV, labels_R, sums, needs.temperature)
    hits_RK = rollouts.hits(call.seed, keys_R, label_prob_R, needs.num_rollouts)
    if not (needs.missed_words or needs.missed_statistics or call.return_rollouts):
        return labels_R[:, None].where(hits_RK, -1)
    masses_RB = rollouts.block_masses(logits_RV, labels_R, sums.top_R, needs.temperature)
    return rollouts.missed_words(
        call.seed, keys_R, hits_RK, logits_RV, labels_R, sums.top_R, masses_RB, needs.temperature
    )


def _statistics(
    logits_RV: Tensor, labels_R: Tensor, sums: _Sums, needs: Needs, words_RK: Tensor | None
) -> Statistics:
    label_logit_R = logits_RV.gather(1, labels_R[:, None])[:, 0]
    rollout_prob_R = num_hits_R = missed_log_prob_RK = missed_repeats_RK = top_entropy_R = None
    if needs.temperature is not None:
        rollout_prob_R = _rollout_prob(logits_RV, labels_R, sums, needs.temperature)
    if words_RK is not None:
        hit_RK = words_RK == labels_R[:, None]
        num_hits_R = hit_RK.sum(1).to(logits_RV.dtype)
        if needs.missed_statistics:
            missed_log_prob_RK = _word_log_prob(logits_RV, words_RK, sums).masked_fill(hit_RK, 0)
            missed_repeats_RK = _repeats(words_RK)
    if needs.top_entropy:
        top_log_prob = logits_RV.topk(needs.top_entropy, 1).values.log_softmax(1)
        top_entropy_R = -(top_log_prob.exp() * top_log_prob).sum(1)
    return Statistics(
        log_prob_T=(label_logit_R - sums.top_R - sums.log_total_R).clamp_(max=0),
        entropy_T=sums.entropy_R,
        rollout_prob_T=rollout_prob_R,
        num_hits_T=num_hits_R,
        missed_log_prob_TK=missed_log_prob_RK,
        missed_repeats_TK=missed_repeats_RK,
        top_entropy_T=top_entropy_R,
    )


def _losses(
    logits_RV: Tensor,
    labels_R: Tensor,
    sums: _Sums,
    statistics: Statistics,
    weights: Weights,
    words_RK: Tensor | None,
) -> Tensor:
    """-sum_v w_v log pi_v of each row, from the parts of w."""
    if weights.loss_T is not None:
        return weights.loss_T
    losses_R = -weights.label_T * statistics.log_prob_T
    if weights.rollout_policy_T is not None:
        assert sums.rollout_mean_R is not None
        losses_R -= weights.rollout_policy_T * (sums.rollout_mean_R - sums.log_total_R)
    if weights.uniform_T is not None:
        mean_R = logits_RV.mean(1) - sums.top_R
        losses_R -= weights.uniform_T * (mean_R - sums.log_total_R)
    if weights.missed_TK is not None:
        assert words_RK is not None
        missed_RK = _missed(weights, words_RK, labels_R)
        losses_R -= (missed_RK * _word_log_prob(logits_RV, words_RK, sums)).sum(1)
    if weights.entropy_T is not None:
        losses_R -= weights.entropy_T * statistics.entropy_T
    return losses_R


def _overwrite_with_gradient(
    logits_RV: Tensor,
    labels_R: Tensor,
    sums: _Sums,
    weights: Weights,
    words_RK: Tensor | None,
    needs: Needs,
    call: Call,
) -> None:
    """W pi - w in place of the logits, times the slope of scale and softcap, over num_tokens."""
    total_weight_R = weights.label_T
    columns = [labels_R[:, None]]
    amounts = [weights.label_T[:, None]]
    if weights.missed_TK is not None:
        assert words_RK is not None
        missed_RK = _missed(weights, words_RK, labels_R)
        total_weight_R = total_weight_R + missed_RK.sum(1)
        columns.append(words_RK)
        amounts.append(missed_RK)
    rollout_policy_R = weights.rollout_policy_T
    if needs.temperature == 1.0:
        # W pi - w pi for q = pi: left out of both, where it would only add rounding.
        rollout_policy_R = None
    for part in (rollout_policy_R, weights.uniform_T):
        if part is not None:
            total_weight_R = total_weight_R + part
    columns_RN, amounts_RN = torch.cat(columns, 1), torch.cat(amounts, 1)
    # The slope needs the logits, so it is taken at the single columns before they are gone.
    amounts_RN = amounts_RN * _slope(logits_RV.gather(1, columns_RN), call)

    for block in logits_RV.split(_COLUMNS, dim=1):
        slope = _slope(block, call)
        log_prob = block - (sums.top_R + sums.log_total_R)[:, None]
        gradient = log_prob.exp().mul_(total_weight_R[:, None])
        if weights.entropy_T is not None:
            surprise = log_prob + sums.entropy_R[:, None]
            gradient += log_prob.exp().mul_(surprise).mul_(weights.entropy_T[:, None])
        if rollout_policy_R is not None:
            assert sums.rollout_log_total_R is not None and needs.temperature is not None
            rollout = (block - sums.top_R[:, None]).div_(needs.temperature)
            rollout.sub_(sums.rollout_log_total_R[:, None]).exp_()
            gradient -= rollout.mul_(rollout_policy_R[:, None])
        if weights.uniform_T is not None:
            gradient -= (weights.uniform_T / logits_RV.shape[1])[:, None]
        torch.mul(gradient, slope, out=block)
    logits_RV.scatter_add_(1, columns_RN, -amounts_RN)
    logits_RV /= call.num_tokens


def _slope(logits: Tensor, call: Call) -> Tensor | float:
    """Derivative of the scaled and capped logits by the raw ones."""
    if call.logit_softcap is None:
        return call.logit_scale
    return (1 - (logits / call.logit_softcap).square_()).mul_(call.logit_scale)


def _rollout_prob(logits_RV: Tensor, labels_R: Tensor, sums: _Sums, temperature: float) -> Tensor:
    assert sums.rollout_log_total_R is not None
    shifted_R = logits_RV.gather(1, labels_R[:, None])[:, 0] - sums.top_R
    return (shifted_R / temperature - sums.rollout_log_total_R).clamp_(max=0).exp_()


def _word_log_prob(logits_RV: Tensor, words_RK: Tensor, sums: _Sums) -> Tensor:
    return logits_RV.gather(1, words_RK) - (sums.top_R + sums.log_total_R)[:, None]


def _missed(weights: Weights, words_RK: Tensor, labels_R: Tensor) -> Tensor:
    """Weight of each draw, 0 where it hits the label."""
    assert weights.missed_TK is not None
    return weights.missed_TK.expand(words_RK.shape).masked_fill(words_RK == labels_R[:, None], 0)


def _repeats(words_RK: Tensor) -> Tensor:
    ordered, order = words_RK.sort(1)
    first = torch.searchsorted(ordered, ordered, right=False)
    last = torch.searchsorted(ordered, ordered, right=True)
    return torch.empty_like(words_RK).scatter_(1, order, last - first)


def _label_weight(weights: Weights, statistics: Statistics, vocabulary: int) -> Tensor:
    weight_R = weights.label_T
    if weights.rollout_policy_T is not None:
        assert statistics.rollout_prob_T is not None
        weight_R = weight_R + weights.rollout_policy_T * statistics.rollout_prob_T
    if weights.uniform_T is not None:
        weight_R = weight_R + weights.uniform_T / vocabulary
    return weight_R
