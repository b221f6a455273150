"""What a caller gives a head: checked, and made complete.

Shapes: T tokens, D width, V vocabulary.
"""

import dataclasses

import torch
from torch import Tensor

from otr.lm_head.call import IGNORED, Call
from otr.objectives import Objective, require_objective

_SIXTEEN_BIT_BOUND = 2.0**-9
"""Relative error that compaction may make of 16-bit gradients: bfloat16's unit roundoff."""

_WORTHWHILE_WIDTH = 512
"""Below it the products cost about what the choice of their rows and columns does."""


def as_autocast(hidden: Tensor) -> Tensor:
    """Hidden states as a linear layer would take them: under autocast the last norm of most models
    answers in float32, whose products an accelerator makes many times slower."""
    device = hidden.device.type
    if hidden.dtype != torch.float32 or not torch.is_autocast_enabled(device):
        return hidden
    return hidden.to(torch.get_autocast_dtype(device))


def check_matrix(name: str, value: Tensor) -> None:
    """Raises: ValueError unless it has two dimensions and floating numbers."""
    if value.ndim != 2 or not value.is_floating_point():
        raise ValueError(
            f"{name} must be a floating matrix, found {value.dtype} of shape {tuple(value.shape)}"
        )


def check_bias(bias: Tensor | None, vocabulary: int) -> None:
    """Raises: ValueError unless it is None or (V,)."""
    if bias is not None and bias.shape != (vocabulary,):
        raise ValueError(f"bias must have shape ({vocabulary},), found {tuple(bias.shape)}")


def check_devices(rows: Tensor, **others: Tensor | None) -> None:
    """Raises: ValueError unless all that is given lies where the hidden states or logits do."""
    for name, value in others.items():
        if value is not None and value.device != rows.device:
            raise ValueError(
                f"{name} must be on {rows.device}, as the hidden states or logits are, found "
                f"{value.device}: move it there"
            )


def with_reference(
    call: Call,
    hidden: Tensor,
    weight: Tensor,
    reference_hidden: Tensor | None,
    reference_weight: Tensor | None,
) -> Call:
    """The call with the reference that its objective's anchor needs.

    Raises: ValueError that names the argument, with what was found.
    """
    if reference_hidden is None and reference_weight is None:
        if call.objective.anchor is not None:
            raise ValueError(
                "the objective has an anchor: pass reference_hidden and reference_weight"
            )
        return call
    if reference_hidden is None or reference_weight is None or call.objective.anchor is None:
        raise ValueError(
            "reference_hidden and reference_weight belong together, and to an objective with an "
            "anchor, such as SFT(anchor=Anchor(kl=0.05))"
        )
    check_matrix("reference_hidden", reference_hidden)
    check_matrix("reference_weight", reference_weight)
    check_devices(hidden, reference_hidden=reference_hidden, reference_weight=reference_weight)
    reference_hidden = as_autocast(reference_hidden)
    wanted = (len(hidden), reference_weight.shape[1]), (len(weight), reference_hidden.shape[1])
    if (reference_hidden.shape, reference_weight.shape) != wanted:
        raise ValueError(
            f"reference_hidden and reference_weight must have {len(hidden)} and {len(weight)} rows "
            f"and share their width, found {tuple(reference_hidden.shape)} and "
            f"{tuple(reference_weight.shape)}"
        )
    return dataclasses.replace(
        call,
        reference_TD=reference_hidden.detach(),
        reference_weight_VD=reference_weight.detach(),
    )


def check_compaction(compaction: float | str | None) -> None:
    """Raises: ValueError unless it is None, "off" or a bound between 0 and 0.5."""
    if compaction is None or compaction == "off":
        return
    if isinstance(compaction, bool | str) or not 0 < compaction < 0.5:
        raise ValueError(
            f'compaction must be "off" or a bound between 0 and 0.5, found {compaction!r}'
        )


def compaction_bound(
    compaction: float | str | None, hidden: Tensor, weight: Tensor
) -> float | None:
    """The bound that holds, None for no compaction; see `linear_loss`."""
    check_compaction(compaction)
    if compaction == "off":
        return None
    if compaction is not None:
        return float(compaction)
    short = hidden.dtype.itemsize == 2 or weight.dtype.itemsize == 2
    return _SIXTEEN_BIT_BOUND if short and hidden.shape[1] >= _WORTHWHILE_WIDTH else None


def call_of(
    rows: Tensor,
    vocabulary: int,
    labels: Tensor,
    objective: Objective,
    logit_scale: float,
    logit_softcap: float | None,
    seed: int,
    token_keys: Tensor | None,
    num_tokens: int | Tensor | None,
    token_weights: Tensor | None,
    return_rollouts: bool,
    compaction: float | None = None,
) -> Call:
    """The arguments of `linear_loss` and `logits_loss`, for `rows` of hidden states or logits.

    Raises: ValueError that names the argument, with what was found.
    """
    require_objective(objective)
    check_devices(rows, labels=labels, token_keys=token_keys, token_weights=token_weights)
    for name, value in (("labels", labels), ("token_keys", token_keys)):
        if value is not None and (value.shape != rows.shape[:1] or value.dtype != torch.int64):
            raise ValueError(
                f"{name} must be int64 of shape ({len(rows)},), found {value.dtype} of shape "
                f"{tuple(value.shape)}"
            )
    if token_weights is not None and (
        token_weights.shape != rows.shape[:1] or not token_weights.is_floating_point()
    ):
        raise ValueError(
            f"token_weights must be floating of shape ({len(rows)},), found {token_weights.dtype} "
            f"of shape {tuple(token_weights.shape)}"
        )
    if logit_softcap is not None and not logit_softcap > 0:
        raise ValueError(f"logit_softcap must be above 0, found {logit_softcap}")
    # On an accelerator the look at the labels would make the host wait.
    if labels.device.type == "cpu":
        wrong = labels[(labels != IGNORED) & ((labels < 0) | (labels >= vocabulary))]
        if len(wrong):
            raise ValueError(
                f"labels must be {IGNORED} or below the vocabulary's size {vocabulary}, found "
                f"{int(wrong[0])}"
            )
    if token_keys is None:
        token_keys = torch.arange(len(labels), device=labels.device)
    if num_tokens is None:
        num_tokens = (labels != IGNORED).sum()
    divisor = torch.as_tensor(num_tokens, device=rows.device).clamp(min=1)
    return Call(
        labels_T=labels,
        objective=objective,
        logit_scale=logit_scale,
        logit_softcap=logit_softcap,
        seed=seed,
        keys_T=token_keys,
        num_tokens=divisor,
        return_rollouts=return_rollouts,
        compaction=compaction,
        token_weights_T=None if token_weights is None else token_weights.detach(),
    )
