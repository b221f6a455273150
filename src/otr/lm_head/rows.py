"""The objective's arithmetic on a chunk of rows: from sums to losses and gradient coefficients.

Shapes: R rows, V vocabulary, K rollouts, N single columns. `shifted` logits are z - max z.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otr.lm_head import divergence
from otr.lm_head.call import Call, hit_rate
from otr.lm_head.passes import Gradient, LogitTransform, Passes, Sums
from otr.objectives import Needs, Statistics, Weights


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What was found of each row."""

    losses_R: Tensor
    """Times the tokens' weights, where there are some."""
    per_token: dict[str, Tensor]
    words_RK: Tensor | None


def process_rows(
    logits_RV: Tensor,
    index: Tensor,
    call: Call,
    passes: Passes,
    gradient_RV: Tensor | None,
    reference_RV: Tensor | None = None,
) -> Rows:
    """Losses and statistics of the head's raw output, which is overwritten; its gradient, not yet
    divided by the number of tokens, is written to `gradient_RV`, which may be the same tensor.
    `reference_RV` is the raw output of an anchor's reference, and is overwritten too."""
    transform = LogitTransform(scale=call.logit_scale, softcap=call.logit_softcap)
    return _process(logits_RV, index, call, passes, gradient_RV, reference_RV, transform, transform)


def _process(
    logits_RV: Tensor,
    index: Tensor,
    call: Call,
    passes: Passes,
    gradient_RV: Tensor | None,
    reference_RV: Tensor | None,
    untransformed: LogitTransform,
    transform: LogitTransform,
) -> Rows:
    """The same of logits to which `untransformed` has yet to be done, of what is to be done in all."""
    labels_R, keys_R = call.labels_T[index], call.keys_T[index]
    needs = call.objective.needs()
    searches = needs.missed_words or needs.missed_statistics or call.return_rollouts
    sums = passes.sums(logits_RV, untransformed, needs, needs.num_rollouts > 0 and searches)
    label_logit_R = logits_RV.gather(1, labels_R[:, None])[:, 0]
    rollout_prob_R = words_RK = None
    if needs.temperature is not None:
        rollout_prob_R = _rollout_prob(label_logit_R, sums, needs.temperature)
    known = Statistics(
        log_prob_T=_log_prob(label_logit_R, sums),
        entropy_T=sums.entropy_R,
        rollout_prob_T=rollout_prob_R,
    )
    substituted = _substituted(logits_RV, index, call, passes, reference_RV, transform, known)
    if needs.num_rollouts:
        assert rollout_prob_R is not None
        words_RK = passes.words(logits_RV, labels_R, keys_R, rollout_prob_R, sums, needs, call.seed)
    statistics = _with_draws(known, logits_RV, labels_R, sums, needs, words_RK)
    weights = call.objective.all_weights(statistics)
    losses_R = _losses(logits_RV, labels_R, sums, statistics, weights, words_RK)
    anchor = call.objective.anchor
    label_weight_R = _label_weight(weights, statistics, logits_RV.shape[1])
    divergence_R = None
    if anchor is not None:
        assert reference_RV is not None
        divergence_R = divergence.of_rows(logits_RV, reference_RV, sums, transform, anchor)
        losses_R = losses_R + anchor.kl * divergence_R
        if anchor.direction == "forward":
            log_rho_R = reference_RV.gather(1, labels_R[:, None])[:, 0]
            label_weight_R = label_weight_R + anchor.kl * log_rho_R.exp()
    factor_R = None
    if call.token_weights_T is not None:
        factor_R = call.token_weights_T[index].to(losses_R)
        losses_R = factor_R * losses_R
    hit_rate_R = hit_rate(statistics, needs)
    rows = Rows(
        losses_R=losses_R,
        per_token={
            "log_prob": statistics.log_prob_T,
            "entropy": statistics.entropy_T,
            "hit_rate": hit_rate_R,
            "reward": hit_rate_R if weights.reward_T is None else weights.reward_T,
            "target_weight": label_weight_R,
            "is_top1": label_logit_R == sums.top_R,
        },
        words_RK=words_RK,
    )
    if gradient_RV is not None:
        gradient = _gradient(logits_RV, labels_R, weights, words_RK, needs, transform)
        if factor_R is not None:
            gradient = gradient.times(factor_R)
        if anchor is not None:
            assert reference_RV is not None and divergence_R is not None
            divergence.write_gradient(
                logits_RV, reference_RV, divergence_R, sums, transform, anchor
            )
            if factor_R is not None:
                reference_RV *= factor_R[:, None]
        passes.write_gradient(logits_RV, gradient_RV, gradient, sums, transform, needs.temperature)
        if reference_RV is not None:
            gradient_RV += reference_RV
    return rows if substituted is None else substituted.put_into(rows, gradient_RV)


@dataclass(frozen=True, kw_only=True)
class _Substituted:
    """Some rows of a chunk, as another objective has them."""

    which: Tensor
    rows: Rows
    gradient_RV: Tensor

    def put_into(self, all_rows: Rows, gradient_RV: Tensor | None) -> Rows:
        """The chunk's rows with these in their places, and their gradient in `gradient_RV`."""
        if gradient_RV is not None:
            gradient_RV[self.which] = self.gradient_RV.to(gradient_RV.dtype)
        words_RK = all_rows.words_RK
        if words_RK is not None and self.rows.words_RK is not None:
            words_RK = words_RK.index_copy(0, self.which, self.rows.words_RK)
        return Rows(
            losses_R=all_rows.losses_R.index_copy(0, self.which, self.rows.losses_R),
            per_token={
                name: value.index_copy(0, self.which, self.rows.per_token[name])
                for name, value in all_rows.per_token.items()
            },
            words_RK=words_RK,
        )


def _substituted(
    logits_RV: Tensor,
    index: Tensor,
    call: Call,
    passes: Passes,
    reference_RV: Tensor | None,
    transform: LogitTransform,
    known: Statistics,
) -> _Substituted | None:
    """The rows that another objective stands in for, processed on a copy of their logits; None
    where there are none."""
    substitute = call.objective.substitute(known)
    if substitute is None:
        return None
    which = substitute[0].nonzero()[:, 0]
    if len(which) == 0:
        return None
    copy_RV = logits_RV[which]
    rows = _process(
        copy_RV,
        index[which],
        replace(call, objective=substitute[1]),
        passes,
        copy_RV,
        None if reference_RV is None else reference_RV[which],
        LogitTransform(),
        transform,
    )
    return _Substituted(which=which, rows=rows, gradient_RV=copy_RV)


def _with_draws(
    known: Statistics,
    logits_RV: Tensor,
    labels_R: Tensor,
    sums: Sums,
    needs: Needs,
    words_RK: Tensor | None,
) -> Statistics:
    """The statistics with those that need draws, or a search of the vocabulary."""
    num_hits_R = missed_log_prob_RK = missed_repeats_RK = top_entropy_R = None
    if words_RK is not None:
        hit_RK = words_RK == labels_R[:, None]
        num_hits_R = hit_RK.sum(1).to(logits_RV.dtype)
        if needs.missed_statistics:
            missed_log_prob_RK = _word_log_prob(logits_RV, words_RK, sums)
            # Below 0 also where it rounds to 0, so that it is not taken for a draw that hits.
            missed_log_prob_RK.clamp_(max=-torch.finfo(logits_RV.dtype).tiny)
            missed_log_prob_RK.masked_fill_(hit_RK, 0)
            missed_repeats_RK = _repeats(words_RK)
    if needs.top_entropy:
        top_log_prob = logits_RV.topk(needs.top_entropy, 1).values.log_softmax(1)
        top_entropy_R = -(top_log_prob.exp() * top_log_prob).sum(1)
    return replace(
        known,
        num_hits_T=num_hits_R,
        missed_log_prob_TK=missed_log_prob_RK,
        missed_repeats_TK=missed_repeats_RK,
        top_entropy_T=top_entropy_R,
    )


def _losses(
    logits_RV: Tensor,
    labels_R: Tensor,
    sums: Sums,
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


def _gradient(
    logits_RV: Tensor,
    labels_R: Tensor,
    weights: Weights,
    words_RK: Tensor | None,
    needs: Needs,
    transform: LogitTransform,
) -> Gradient:
    """W pi - w, times the slope of scale and softcap."""
    policy_R = weights.label_T
    columns = [labels_R[:, None]]
    amounts = [weights.label_T[:, None]]
    if weights.missed_TK is not None:
        assert words_RK is not None
        missed_RK = _missed(weights, words_RK, labels_R)
        policy_R = policy_R + missed_RK.sum(1)
        columns.append(words_RK)
        amounts.append(missed_RK)
    rollout_R, uniform_R = weights.rollout_policy_T, weights.uniform_T
    if needs.temperature == 1.0:
        # W pi - w pi for q = pi: left out of both, where it would only add rounding.
        rollout_R = None
    if rollout_R is not None:
        policy_R = policy_R + rollout_R
    if uniform_R is not None:
        policy_R = policy_R + uniform_R
        uniform_R = uniform_R / logits_RV.shape[1]
    columns_RN, amounts_RN = torch.cat(columns, 1), torch.cat(amounts, 1)
    # The slope needs the logits, so it is taken at the single columns before they are gone.
    amounts_RN = amounts_RN * transform.slope(logits_RV.gather(1, columns_RN))
    return Gradient(
        policy_R=policy_R,
        entropy_R=weights.entropy_T,
        rollout_R=rollout_R,
        uniform_R=uniform_R,
        columns_RN=columns_RN,
        amounts_RN=amounts_RN,
    )


def _rollout_prob(label_logit_R: Tensor, sums: Sums, temperature: float) -> Tensor:
    assert sums.rollout_log_total_R is not None
    shifted_R = label_logit_R - sums.top_R
    return (shifted_R / temperature - sums.rollout_log_total_R).clamp_(max=0).exp_()


def _log_prob(label_logit_R: Tensor, sums: Sums) -> Tensor:
    return (label_logit_R - sums.top_R - sums.log_total_R).clamp_(max=0)


def _word_log_prob(logits_RV: Tensor, words_RK: Tensor, sums: Sums) -> Tensor:
    return logits_RV.gather(1, words_RK) - sums.top_R[:, None] - sums.log_total_R[:, None]


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
