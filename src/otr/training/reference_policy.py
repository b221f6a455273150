"""The policy that an objective's anchor keeps the trained one near.

It is a model of its own, or the trained model with its adapter switched off.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from otr.training.model_head import head_inputs, output_head


def check_reference(model: nn.Module, reference: nn.Module | None) -> None:
    """Raises: ValueError unless `reference`, or else the model without its adapter, can serve."""
    head = output_head(model)
    if head.bias is not None:
        raise ValueError("an anchor cannot follow a head with a bias; leave the anchor out")
    if reference is not None:
        num_words = output_head(reference).weight.shape[0]
        if num_words != head.weight.shape[0]:
            raise ValueError(
                f"reference_model knows {num_words} words and the model {head.weight.shape[0]}; "
                "an anchor needs the same vocabulary"
            )
    elif not hasattr(model, "disable_adapter"):
        raise ValueError(
            "an anchor needs a reference: pass reference_model, or train an adapter, whose base "
            "model then is the reference"
        )
    elif hasattr(model.get_output_embeddings(), "modules_to_save"):  # type: ignore[operator]
        raise ValueError(
            "the whole head is trained beside the adapter, which switching the adapter off does "
            "not undo; pass reference_model"
        )


@torch.no_grad()
def reference_states(
    model: nn.Module, reference: nn.Module | None, inputs: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """What the reference hands to its head, (N, L, D), and its head's weight.

    Without a reference, the model's adapter is off meanwhile; its dropout is as it was.
    """
    switched_off = contextlib.nullcontext()
    if reference is None:
        reference, switched_off = model, model.disable_adapter()  # type: ignore[operator]
    with switched_off, head_inputs(reference) as seen:
        reference(**inputs)
    (states,) = seen
    return states
