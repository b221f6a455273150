"""The divergence from a reference policy that an objective's anchor adds, and its gradient.

With pi the policy and rho the reference policy, constant:

    forward   KL(rho || pi) = sum_v rho_v (log rho_v - log pi_v)    d/dz = pi - rho
    reverse   KL(pi || rho) = sum_v pi_v (log pi_v - log rho_v)     d/dz = pi (log pi - log rho - KL)

Shapes: R rows, V vocabulary, C columns at once.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from otr.lm_head.passes import LogitTransform, Sums
from otr.objectives import Anchor

_COLUMNS = 4096


def of_rows(
    logits_RV: Tensor, reference_RV: Tensor, sums: Sums, transform: LogitTransform, anchor: Anchor
) -> Tensor:
    """The divergence of each row, not yet times `anchor.kl`; (R,).

    `logits_RV` are transformed, `reference_RV` is the reference head's raw output, which is
    overwritten with the reference's log-probabilities.
    """
    transform.apply_(reference_RV)
    # The largest first: a large common offset would round the sum of it and the logarithm.
    reference_RV -= reference_RV.amax(1, keepdim=True)
    reference_RV -= reference_RV.logsumexp(1, keepdim=True)
    divergence_R = torch.zeros_like(sums.top_R)
    for log_pi_RC, log_rho_RC in _blocks(logits_RV, reference_RV, sums):
        if anchor.direction == "forward":
            divergence_R += (log_rho_RC.exp() * (log_rho_RC - log_pi_RC)).sum(1)
        else:
            divergence_R += (log_pi_RC.exp() * (log_pi_RC - log_rho_RC)).sum(1)
    return divergence_R.clamp_(min=0)


def write_gradient(
    logits_RV: Tensor,
    reference_RV: Tensor,
    divergence_R: Tensor,
    sums: Sums,
    transform: LogitTransform,
    anchor: Anchor,
) -> None:
    """Overwrite the reference's log-probabilities with the gradient by the head's raw output."""
    for block_RC, (log_pi_RC, log_rho_RC) in zip(
        logits_RV.split(_COLUMNS, dim=1), _blocks(logits_RV, reference_RV, sums), strict=True
    ):
        if anchor.direction == "forward":
            gradient_RC = log_pi_RC.exp() - log_rho_RC.exp()
        else:
            gradient_RC = log_pi_RC.exp() * (log_pi_RC - log_rho_RC - divergence_R[:, None])
        torch.mul(gradient_RC.mul_(anchor.kl), transform.slope(block_RC), out=log_rho_RC)


def _blocks(logits_RV: Tensor, reference_RV: Tensor, sums: Sums) -> Iterator[tuple[Tensor, Tensor]]:
    """log pi and log rho of some columns at a time; the latter are the reference's own memory."""
    for block_RC, log_rho_RC in zip(
        logits_RV.split(_COLUMNS, dim=1), reference_RV.split(_COLUMNS, dim=1), strict=True
    ):
        log_pi_RC = (block_RC - sums.top_R[:, None]).sub_(sums.log_total_R[:, None])
        yield log_pi_RC, log_rho_RC
