"""The loss of hidden states or logits under any objective, by a choice of backends."""

import dataclasses
import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from otr.errors import suggestion
from otr.lm_head.call import IGNORED, Call, HeadOutput, compute_dtype
from otr.objectives import Objective

BACKENDS = {
    "reference": "otr.lm_head.reference",
    "chunked": "otr.lm_head.chunked",
    "triton": "otr.lm_head.triton_head",
}
"""Modules, imported when first used: not every machine has triton. Each has
`linear_head(hidden, weight, bias, call)` and `logits_head(logits, call)`."""

_OLDEST_FOR_TRITON = (8, 0)
"""Compute capability below which Triton's own support ends."""

SIXTEEN_BIT_BOUND = 2.0**-9
"""Relative error that compaction may make of 16-bit gradients: bfloat16's unit roundoff."""

_WORTHWHILE_WIDTH = 512
"""Below it the products cost about what the choice of their rows and columns does."""


def linear_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
    seed: int = 0,
    token_keys: Tensor | None = None,
    num_tokens: int | Tensor | None = None,
    token_weights: Tensor | None = None,
    backend: str | None = None,
    return_rollouts: bool = False,
    compaction: float | str | None = None,
    reference_hidden: Tensor | None = None,
    reference_weight: Tensor | None = None,
) -> HeadOutput:
    """The loss of hidden states under a language-model head, without the full logits.

    z = softcap(logit_scale (hidden weight^T + bias)),  softcap(x) = c tanh(x / c)
    loss = sum_t u_t L_t / num_tokens,  L_t = -sum_v w_tv log softmax(z_t)_v

    where the objective gives the weights w, held constant, and u are `token_weights`.

    Args:
        hidden: (T, D) floating; float32 under autocast is taken in autocast's dtype.
        weight: (V, D), the head's weight.
        labels: (T,) int64; -100 is ignored.
        objective: `SFT()`, `DFT()`, `OTR()`, ….
        bias: (V,), the head's bias.
        logit_scale: factor on the logits, before the softcap.
        logit_softcap: bound c of the logits; None for no bound.
        seed: of the rollouts; same seed and keys give the same rollouts in any chunk size, row
            order, number of processes and backend, as long as the logits agree.
        token_keys: (T,) int64, the identity of each token; 0..T-1 unless given.
        num_tokens: the divisor; the number of labels that are not ignored unless given.
        token_weights: (T,) floating, a factor on each token's loss, 1 unless given; such as one
            over the length of its sequence, with the number of sequences as `num_tokens`. It
            gets no gradient, and the per-token answers are without it.
        backend: "reference" (autograd on the full logits, the truth), "chunked" (gradients in
            the forward pass, never a [T, V] tensor) or "triton" (chunked, with kernels of its
            own; CUDA only). None picks the fastest that fits: triton on CUDA, but for float64,
            and chunked elsewhere.
        return_rollouts: also return the drawn words.
        compaction: leave tokens and words that hardly matter out of the gradients' products, as
            long as the relative error of the weight's gradient provably stays below this bound
            (Frobenius norm), and that of the hidden states' below four times it; see
            `docs/theory.md`. "off" leaves out none; None is 2**-9, bfloat16's own rounding, where
            hidden states or weight have 16 bits and a width of at least 512, and "off" elsewhere.
        reference_hidden: (T, D') floating, of the reference model that an objective's anchor keeps
            the policy near; scale and softcap are the policy's, and there is no bias.
        reference_weight: (V, D'), its head's weight. Neither gets a gradient.

    Returns: a `HeadOutput`; its loss is differentiable in hidden, weight and bias, once.
    Raises: ValueError that names the argument, with what was found.
    """
    _check_matrix("hidden", hidden)
    _check_matrix("weight", weight)
    if hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden and weight must share their width, found {tuple(hidden.shape)} and "
            f"{tuple(weight.shape)}"
        )
    _check_bias(bias, weight.shape[0])
    hidden = _as_autocast(hidden)
    call = _call(
        hidden, weight.shape[0], labels, objective,
        logit_scale, logit_softcap, seed, token_keys, num_tokens, token_weights, return_rollouts,
        _compaction_bound(compaction, hidden, weight),
    )  # fmt: skip
    call = _with_reference(call, hidden, weight, reference_hidden, reference_weight)
    with _full_precision(hidden):
        return _backend(backend, hidden, weight).linear_head(hidden, weight, bias, call)


def logits_loss(
    logits: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
    seed: int = 0,
    token_keys: Tensor | None = None,
    num_tokens: int | Tensor | None = None,
    token_weights: Tensor | None = None,
    backend: str | None = None,
    return_rollouts: bool = False,
) -> HeadOutput:
    """The loss of logits that the caller already holds, (T, V).

    z = softcap(logit_scale (logits + bias)); everything else is as in `linear_loss`. The loss is
    differentiable in logits and bias.
    """
    _check_matrix("logits", logits)
    if isinstance(objective, Objective) and objective.anchor is not None:
        raise ValueError("an anchor needs hidden states and a head: use linear_loss")
    _check_bias(bias, logits.shape[1])
    if bias is not None:
        logits = logits + bias
    call = _call(
        logits, logits.shape[1], labels, objective,
        logit_scale, logit_softcap, seed, token_keys, num_tokens, token_weights, return_rollouts,
    )  # fmt: skip
    with _full_precision(logits):
        return _backend(backend, logits).logits_head(logits, call)


def _backend(name: str | None, *inputs: Tensor) -> Any:
    if name is None:
        name = "triton" if _suits_triton(*inputs) else "chunked"
    if name not in BACKENDS:
        raise ValueError(
            f"backend must be one of {', '.join(BACKENDS)}, found {name!r}"
            + suggestion(str(name), BACKENDS)
        )
    if name == "triton":
        _check_triton(inputs[0].device)
    return import_module(BACKENDS[name])


def _suits_triton(*inputs: Tensor) -> bool:
    device = inputs[0].device
    return (
        device.type == "cuda"
        # The kernels can do float64, but were made for 32 bits.
        and compute_dtype(*inputs) == torch.float32
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= _OLDEST_FOR_TRITON
    )


def _check_triton(device: torch.device) -> None:
    if find_spec("triton") is None:
        raise ValueError(
            "backend 'triton' needs the package triton, which is not installed: CUDA builds of "
            "torch bring it, `pip install triton` adds it; or leave backend out"
        )
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"backend 'triton' needs tensors on a CUDA device, found {device}: move them there, or "
            "leave backend out (for tests, TRITON_INTERPRET=1 in the environment interprets the "
            "kernels on a CPU, slowly)"
        )


def _as_autocast(hidden: Tensor) -> Tensor:
    """Hidden states as a linear layer would take them: under autocast the last norm of most models
    answers in float32, whose products an accelerator makes many times slower."""
    device = hidden.device.type
    if hidden.dtype != torch.float32 or not torch.is_autocast_enabled(device):
        return hidden
    return hidden.to(torch.get_autocast_dtype(device))


def _full_precision(rows: Tensor) -> torch.autocast:
    """Autocast would round logits to 16 bits: an error of up to 6 % in a probability."""
    return torch.autocast(rows.device.type, enabled=False)


def _check_matrix(name: str, value: Tensor) -> None:
    if value.ndim != 2 or not value.is_floating_point():
        raise ValueError(
            f"{name} must be a floating matrix, found {value.dtype} of shape {tuple(value.shape)}"
        )


def _check_bias(bias: Tensor | None, vocabulary: int) -> None:
    if bias is not None and bias.shape != (vocabulary,):
        raise ValueError(f"bias must have shape ({vocabulary},), found {tuple(bias.shape)}")


def _with_reference(
    call: Call,
    hidden: Tensor,
    weight: Tensor,
    reference_hidden: Tensor | None,
    reference_weight: Tensor | None,
) -> Call:
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
    _check_matrix("reference_hidden", reference_hidden)
    _check_matrix("reference_weight", reference_weight)
    reference_hidden = _as_autocast(reference_hidden)
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


def _compaction_bound(
    compaction: float | str | None, hidden: Tensor, weight: Tensor
) -> float | None:
    check_compaction(compaction)
    if compaction == "off":
        return None
    if compaction is not None:
        return float(compaction)
    short = hidden.dtype.itemsize == 2 or weight.dtype.itemsize == 2
    return SIXTEEN_BIT_BOUND if short and hidden.shape[1] >= _WORTHWHILE_WIDTH else None


def _call(
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
    if not isinstance(objective, Objective):
        raise ValueError(f"objective must be one of otr's, such as OTR(), found {objective!r}")
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
