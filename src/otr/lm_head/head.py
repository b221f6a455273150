"""The loss of hidden states or logits under any objective, by a choice of backends."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from otr.errors import suggestion
from otr.lm_head.arguments import (
    as_autocast,
    call_of,
    check_bias,
    check_devices,
    check_matrix,
    compaction_bound,
    with_reference,
)
from otr.lm_head.call import HeadOutput, compute_dtype
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
    check_matrix("hidden", hidden)
    check_matrix("weight", weight)
    if hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden and weight must share their width, found {tuple(hidden.shape)} and "
            f"{tuple(weight.shape)}"
        )
    check_bias(bias, weight.shape[0])
    check_devices(hidden, weight=weight, bias=bias)
    hidden = as_autocast(hidden)
    call = call_of(
        hidden, weight.shape[0], labels, objective,
        logit_scale, logit_softcap, seed, token_keys, num_tokens, token_weights, return_rollouts,
        compaction_bound(compaction, hidden, weight),
    )  # fmt: skip
    call = with_reference(call, hidden, weight, reference_hidden, reference_weight)
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
    check_matrix("logits", logits)
    if isinstance(objective, Objective) and objective.anchor is not None:
        raise ValueError("an anchor needs hidden states and a head: use linear_loss")
    check_bias(bias, logits.shape[1])
    check_devices(logits, bias=bias)
    if bias is not None:
        logits = logits + bias
    call = call_of(
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


def _full_precision(rows: Tensor) -> torch.autocast:
    """Autocast would round logits to 16 bits: an error of up to 6 % in a probability."""
    return torch.autocast(rows.device.type, enabled=False)
