"""Gradients of every head against float64, from the same inputs and the same drawn words.

Shapes: T tokens, D width, V vocabulary, K rollouts.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Inputs
from benchmarks.heads import TEMPERATURE, Head
from benchmarks.measuring import prepared, reason
from otr.lm_head import IGNORED


def gradient_errors(heads: Mapping[str, Head], inputs: Inputs) -> dict[str, dict[str, Any]]:
    """The relative error ‖g − g₆₄‖ / ‖g₆₄‖ of each head's gradients, or why there is none.

    g₆₄ is the gradient of the same loss in float64, from inputs as they are in their dtype.
    """
    errors: dict[str, dict[str, Any]] = {}
    for name, head in heads.items():
        if head.truth is None:
            continue
        inputs.clear()
        # Only the naive head draws from this generator.
        torch.manual_seed(0)
        try:
            outcome = prepared(head, inputs, record=head.truth == "sampled")()
            found = {"hidden": inputs.hidden_TD.grad, "weight": inputs.weight_VD.grad}
            true = dict(zip(found, true_gradients(head, inputs, outcome.rollouts), strict=True))
            errors[name] = {
                part: _relative_error(value, true[part])
                for part, value in found.items()
                if value is not None
            }
            if outcome.kept_fraction is not None:
                errors[name]["kept_fraction"] = float(outcome.kept_fraction)
        except Exception as error:
            errors[name] = {"skipped": reason(error)}
    inputs.clear()
    return errors


def true_gradients(head: Head, inputs: Inputs, rollouts: Tensor | None) -> tuple[Tensor, Tensor]:
    """The float64 gradients of hidden and weight, in closed form from the weights w of each token.

    dL/dz = (W π − w) / N,  W = Σ_v w_v,  N supervised tokens
    """
    hidden_TD, weight_VD = inputs.hidden_TD.detach().double(), inputs.weight_VD.detach().double()
    supervised_T = inputs.labels_T != IGNORED
    labels_T1 = inputs.labels_T.clamp(min=0)[:, None]
    logits_TV = hidden_TD @ weight_VD.T
    w_TV = torch.zeros_like(logits_TV)
    if head.truth == "sft":
        w_TV.scatter_(1, labels_T1, 1.0)
    elif head.truth == "exact":
        policy_TV = (logits_TV / TEMPERATURE).softmax(-1)
        w_TV = head.wrong_reward * policy_TV
        hit_T1 = policy_TV.gather(1, labels_T1)
        w_TV.scatter_add_(1, labels_T1, (1 - head.wrong_reward) * hit_T1)
    else:
        assert rollouts is not None
        hits_TK = rollouts == labels_T1
        reward_TK = hits_TK.double().masked_fill(~hits_TK, head.wrong_reward)
        w_TV.scatter_add_(1, rollouts.clamp(min=0), reward_TK / rollouts.shape[1])
    gradient_TV = w_TV.sum(1, keepdim=True) * logits_TV.softmax(-1) - w_TV
    gradient_TV *= supervised_T[:, None] / supervised_T.sum()
    return gradient_TV @ weight_VD, gradient_TV.T @ hidden_TD


def _relative_error(found: Tensor, true: Tensor) -> float:
    return float((found.double() - true).norm() / true.norm())
