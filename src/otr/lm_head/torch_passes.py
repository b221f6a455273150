"""The passes over a chunk of logits in plain PyTorch, on any device.

Work is done in blocks of columns that stay in the processor's cache.

Shapes: R rows, V vocabulary, K rollouts, B blocks of `rollouts.BLOCK` columns, C columns at once.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from otr.lm_head import rollouts
from otr.lm_head.passes import Gradient, LogitTransform, Sums
from otr.objectives import Needs

_COLUMNS = 4096


def sums(logits_RV: Tensor, transform: LogitTransform, needs: Needs, masses: bool) -> Sums:
    """See `Passes.sums`."""
    transform.apply_(logits_RV)
    top_R = logits_RV.amax(1)
    total_R, weighted_R = torch.zeros_like(top_R), torch.zeros_like(top_R)
    rollout_total_R, rollout_weighted_R = torch.zeros_like(top_R), torch.zeros_like(top_R)
    masses_RB = []
    for block_RC, shifted_RC, exponential_RC in _blocks(logits_RV, 2):
        torch.sub(block_RC, top_R[:, None], out=shifted_RC)
        torch.exp(shifted_RC, out=exponential_RC)
        total_R += exponential_RC.sum(1)
        weighted_R += exponential_RC.mul_(shifted_RC).sum(1)
        if needs.temperature is not None:
            torch.mul(shifted_RC, 1 / needs.temperature, out=exponential_RC).exp_()
            if masses:
                masses_RB.append(rollouts.block_sums(exponential_RC))
                rollout_total_R += masses_RB[-1].sum(1)
            else:
                rollout_total_R += exponential_RC.sum(1)
            rollout_weighted_R += exponential_RC.mul_(shifted_RC).sum(1)
    log_total_R = total_R.log()
    has_rollouts = needs.temperature is not None
    return Sums(
        top_R=top_R,
        log_total_R=log_total_R,
        entropy_R=(log_total_R - weighted_R / total_R).clamp_(min=0),
        rollout_log_total_R=rollout_total_R.log() if has_rollouts else None,
        rollout_mean_R=rollout_weighted_R / rollout_total_R if has_rollouts else None,
        rollout_masses_RB=torch.cat(masses_RB, 1) if masses else None,
    )


def _blocks(logits_RV: Tensor, num_scratch: int) -> Iterator[list[Tensor]]:
    """Blocks of columns, each with scratch of its shape. The scratch is reused: fresh memory costs
    several times what the arithmetic does."""
    scratch = [
        logits_RV.new_empty(len(logits_RV), min(_COLUMNS, logits_RV.shape[1]))
        for _ in range(num_scratch)
    ]
    for block_RC in logits_RV.split(_COLUMNS, dim=1):
        yield [block_RC, *(room[:, : block_RC.shape[1]] for room in scratch)]


def words(
    logits_RV: Tensor,
    labels_R: Tensor,
    keys_R: Tensor,
    label_prob_R: Tensor,
    sums: Sums,
    needs: Needs,
    seed: int,
) -> Tensor:
    """See `Passes.words`."""
    hits_RK = rollouts.hits(seed, keys_R, label_prob_R, needs.num_rollouts)
    if sums.rollout_masses_RB is None:
        return labels_R[:, None].where(hits_RK, -1)
    assert needs.temperature is not None
    return rollouts.missed_words(
        seed,
        keys_R,
        hits_RK,
        logits_RV,
        labels_R,
        sums.top_R,
        sums.rollout_masses_RB,
        needs.temperature,
    )


def write_gradient(
    logits_RV: Tensor,
    out_RV: Tensor,
    gradient: Gradient,
    sums: Sums,
    transform: LogitTransform,
    temperature: float | None,
) -> None:
    """See `Passes.write_gradient`."""
    # Probabilities as exp(z - top) / total: z less top + log total would lose what a large common
    # offset of the logits leaves of them.
    share_R = (-sums.log_total_R).exp_()
    policy_R, offset_R = gradient.policy_R * share_R, sums.entropy_R - sums.log_total_R
    entropy_R = None if gradient.entropy_R is None else gradient.entropy_R * share_R
    rollout_R, inverse_temperature = None, 1.0
    if gradient.rollout_R is not None:
        assert sums.rollout_log_total_R is not None and temperature is not None
        rollout_R = gradient.rollout_R * (-sums.rollout_log_total_R).exp_()
        inverse_temperature = 1 / temperature
    for block_RC, gradient_RC, scratch_RC in _blocks(logits_RV, 2):
        slope = transform.slope(block_RC)
        torch.sub(block_RC, sums.top_R[:, None], out=gradient_RC)
        if entropy_R is not None:
            torch.add(gradient_RC, offset_R[:, None], out=scratch_RC)
            scratch_RC.mul_(entropy_R[:, None]).add_(policy_R[:, None])
            gradient_RC.exp_().mul_(scratch_RC)
        else:
            gradient_RC.exp_().mul_(policy_R[:, None])
        if rollout_R is not None:
            torch.sub(block_RC, sums.top_R[:, None], out=scratch_RC)
            scratch_RC.mul_(inverse_temperature).exp_()
            gradient_RC -= scratch_RC.mul_(rollout_R[:, None])
        if gradient.uniform_R is not None:
            gradient_RC -= gradient.uniform_R[:, None]
        torch.mul(gradient_RC, slope, out=block_RC)
    logits_RV.scatter_add_(1, gradient.columns_RN, -gradient.amounts_RN)
    if out_RV.data_ptr() != logits_RV.data_ptr():
        out_RV.copy_(logits_RV)
