"""The head of a loaded model: found, its logit transform measured, its loss fused in place.

Nothing here knows any architecture. While a loss is computed, the head's own forward is
exchanged for one that makes the loss from the hidden states it is given and returns one column
of zeros as logits. The model's forward around it stays as it is, so that sharding and precision
hooks see the head, and auxiliary losses are the model's own.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from otr.lm_head import HeadOutput, LogitTransform

_SMALL, _LARGE = 2.0**-10, 2.0**20
_PROBE = (-_LARGE, -32.0, -1.0, -_SMALL, _SMALL, 1.0, 32.0, _LARGE)


def output_head(model: nn.Module) -> nn.Linear:
    """The linear layer that makes the logits, out of peft's wrappers.

    Raises: ValueError if the model has no such layer, or an adapter lies on it.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    if hasattr(head, "modules_to_save"):
        head = head.modules_to_save[head.active_adapter]
    kind = type(head).__name__
    if hasattr(head, "base_layer") or hasattr(head, "token_adapter"):
        raise ValueError(
            f"the model's head is wrapped by an adapter ({kind}), which a fused loss reads past, "
            "so it would never be trained; leave `lm_head` out of target_modules (and of "
            "trainable_token_indices), or train the whole head with modules_to_save=['lm_head']"
        )
    if not isinstance(head, nn.Linear) or type(head).forward is not nn.Linear.forward:
        raise ValueError(
            f"{type(model).__name__} makes its logits by {kind}, not by a plain linear layer; "
            "use SFTTrainer for this model, or `otr.logits_loss` on its logits"
        )
    return head


def measured_transform(model: PreTrainedModel) -> LogitTransform:
    """What the model's forward does between its head's output and its logits.

    Two tokens are run through the model with known values in place of the head's output.

    Raises: ValueError if the head is not called once, or the result is neither a factor nor a
    softcap.
    """
    head = output_head(model)
    # DeepSpeed keeps the shape of a partitioned weight aside.
    vocabulary = getattr(head.weight, "ds_shape", head.weight.shape)[0]
    device = head.weight.device
    probe_V = torch.tensor(_PROBE, dtype=torch.float64, device=device)
    probe_V = probe_V.repeat(-(-vocabulary // len(_PROBE)))[:vocabulary]
    calls = []

    def forward(hidden: Tensor) -> Tensor:
        calls.append(hidden.shape)
        return probe_V.expand(*hidden.shape[:-1], vocabulary).clone()

    tokens = torch.zeros(1, 2, dtype=torch.int64, device=device)
    with torch.no_grad(), _exchanged_forward(head, forward):
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    name = type(model).__name__
    if len(calls) != 1:
        raise ValueError(
            f"{name} calls its head {len(calls)} times in a forward pass, where one is expected; "
            "use SFTTrainer for this model"
        )
    seen_V = logits.logits[0, -1].double()
    transform = _fitted(float(seen_V[4]), float(seen_V[7]))
    expected_V = transform.scale * probe_V
    if transform.softcap is not None:
        expected_V = transform.softcap * torch.tanh(expected_V / transform.softcap)
    if seen_V.shape != expected_V.shape or not torch.allclose(seen_V, expected_V, rtol=1e-2):
        raise ValueError(
            f"{name} changes its logits in a way that is neither a factor nor a softcap, which "
            "the fused head cannot follow; use SFTTrainer for this model, or `otr.logits_loss`"
        )
    return transform


def _fitted(seen_small: float, seen_large: float) -> LogitTransform:
    """The transform that takes `_SMALL` and `_LARGE` to what was seen of them."""
    scale = seen_small / _SMALL
    if abs(seen_large) > 0.5 * abs(scale) * _LARGE:
        return LogitTransform(scale=scale)
    softcap = abs(seen_large)
    scale = softcap * math.atanh(min(seen_small / softcap, 0.5)) / _SMALL if softcap else 0.0
    return LogitTransform(scale=1.0 if abs(scale - 1) < 1e-6 else scale, softcap=softcap)


@contextmanager
def fused_head(
    model: nn.Module, loss: Callable[[Tensor, Tensor, Tensor | None], HeadOutput]
) -> Iterator[list[HeadOutput]]:
    """While open, a forward pass of `model` calls `loss(hidden, weight, bias)` in its head.

    `hidden` is what the head was given, (…, D). The answers are appended to the list this
    yields. The model's own logits are one column of zeros meanwhile, that depend on the loss:
    data parallelism finds the parameters that take part by walking back from a forward's outputs.
    """
    head = output_head(model)
    outputs: list[HeadOutput] = []

    def forward(hidden: Tensor) -> Tensor:
        outputs.append(loss(hidden, head.weight, head.bias))
        return hidden.new_zeros(*hidden.shape[:-1], 1) + 0 * outputs[-1].loss

    with _exchanged_forward(head, forward):
        yield outputs


@contextmanager
def head_inputs(model: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While open, a forward pass of `model` makes no logits; what its head was given, (…, D), and
    the head's weight are appended to the list this yields."""
    head = output_head(model)
    inputs: list[tuple[Tensor, Tensor]] = []

    def forward(hidden: Tensor) -> Tensor:
        # A sharded model takes the whole weight away again after its forward.
        weight = head.weight.detach().clone() if isinstance(model, FSDPModule) else head.weight
        inputs.append((hidden, weight))
        return hidden.new_zeros(*hidden.shape[:-1], 1)

    with _exchanged_forward(head, forward):
        yield inputs


class _Exchange:
    """What stands in for a head's forward. One object a head, since a compiled model is compiled
    anew whenever a function in it is another one; and left out of the compiled graph, which a
    loss with sizes that depend on its data would break in many places."""

    def __init__(self) -> None:
        self.current: Callable[[Tensor], Tensor] | None = None

        @torch.compiler.disable
        def forward(hidden: Tensor) -> Tensor:
            assert self.current is not None
            return self.current(hidden)

        self.forward = forward


_EXCHANGES: WeakKeyDictionary[nn.Module, _Exchange] = WeakKeyDictionary()


@contextmanager
def _exchanged_forward(head: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    exchange = _EXCHANGES.setdefault(head, _Exchange())
    before, outer = head.__dict__.get("forward"), exchange.current
    head.forward, exchange.current = exchange.forward, forward
    try:
        yield
    finally:
        exchange.current = outer
        if before is None:
            del head.forward
        else:
            head.forward = before
