"""The head of a loaded model: found, and its loss fused in place.

Nothing here knows any architecture. While a loss is computed, the head's own forward is
exchanged for one that makes the loss from the hidden states it is given and returns one column
of zeros as logits. The model's forward around it stays as it is, so that sharding and precision
hooks see the head, and auxiliary losses are the model's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from otr.lm_head import HeadOutput


def output_head(model: nn.Module) -> nn.Linear:
    """The linear layer that makes the logits, out of peft's wrappers.

    Raises: ValueError if the model has no such layer, or an adapter lies on it.
    """
    head = _named_head(model)
    if head is None:
        raise ValueError(
            f"{type(model).__name__} names no layer that makes its logits, or several; use "
            "SFTTrainer for this model, or `otr.logits_loss` on its logits"
        )
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


def _named_head(model: nn.Module) -> Any:
    """The output embeddings of the model, or else of the only model in it that names some."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is not None:
        return head
    inner = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    found = {id(head): head for part in inner if (head := part.get_output_embeddings()) is not None}
    return next(iter(found.values())) if len(found) == 1 else None


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """While open, the model is in training or evaluation mode; each of its modules is as it was
    afterwards."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training


@contextmanager
def fused_head(
    model: nn.Module, loss: Callable[[Tensor, Tensor, Tensor | None], HeadOutput]
) -> Iterator[list[HeadOutput]]:
    """While open, a forward pass of `model` calls `loss(hidden, weight, bias)` in its head.

    `hidden` is what the head was given, (…, D), on the head's device, as accelerate's hook on it,
    which stands aside meanwhile, would have it. The answers are appended to the list this yields.
    The model's own logits are one column of zeros meanwhile, that depend on the loss: data
    parallelism finds the parameters that take part by walking back from a forward's outputs.
    """
    head = output_head(model)
    outputs: list[HeadOutput] = []

    def forward(hidden: Tensor) -> Tensor:
        hidden = hidden.to(head.weight.device)
        outputs.append(loss(hidden, head.weight, head.bias))
        return hidden.new_zeros(*hidden.shape[:-1], 1) + 0 * outputs[-1].loss

    with exchanged_forward(head, forward):
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
        hidden = hidden.to(weight.device)
        inputs.append((hidden, weight))
        return hidden.new_zeros(*hidden.shape[:-1], 1)

    with exchanged_forward(head, forward):
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
def exchanged_forward(head: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, `forward` is called in place of the head's own."""
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
