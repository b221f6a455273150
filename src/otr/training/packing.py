"""Whether documents that share a row stay apart.

Packed and padding-free batches are one row of several documents, whose positions begin anew at each.
What keeps a document from seeing the ones before it is the model's own: a mask made from the positions,
or a kernel that is told the lengths. Which models and attentions do that is measured here, not listed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from otr.training.model_head import head_inputs, in_mode

_FIRST, _OTHER_FIRST, _SECOND = (0, 1, 2, 3, 1), (3, 0, 3, 1, 2), (2, 1, 3, 0, 2, 1)


def check_packing(config: Any) -> None:
    """Raise ValueError for settings that pack documents without keeping them apart."""
    if not (config.packing or config.eval_packing):
        return
    if config.packing_strategy == "wrapped":
        raise ValueError(
            "packing_strategy='wrapped' cuts documents anywhere and lets each token see the documents "
            "before its own; leave it out, for 'bfd', which keeps them whole and apart"
        )
    if config.eval_packing and not (config.packing or config.padding_free):
        raise ValueError(
            "eval_packing=True without packing=True evaluates on documents that see each other; set "
            "both, or leave eval_packing out"
        )


def check_documents_apart(
    model: PreTrainedModel, batch: Callable[[Sequence[Sequence[int]]], dict[str, Any]]
) -> None:
    """Try a row of two documents: the second's states may depend neither on the first nor on its
    length.

    Args:
        model: in any mode; it is tried in evaluation mode, where nothing is random.
        batch: what the model's forward is given for documents in one row.
    Raises: ValueError if the second sees the first, or is not where it would be alone.
    """
    with in_mode(model, training=False):
        alone_LD, packed_LD, other_LD = (
            _last_states(model, batch(documents))
            for documents in ([_SECOND], [_FIRST, _SECOND], [_OTHER_FIRST, _SECOND])
        )
    name = f"{type(model).__name__} with {_attention(model)} attention"
    if _differ(packed_LD, other_LD):
        raise ValueError(
            f"in {name}, a packed document sees the ones before it in its row, and would learn from "
            "them; leave out packing and padding_free, or load the model with another "
            "attn_implementation, such as 'sdpa' or 'flash_attention_2'"
        )
    if _differ(packed_LD, alone_LD):
        raise ValueError(
            f"in {name}, a packed document is not where it would be alone: its positions do not "
            "begin anew; leave out packing and padding_free"
        )


def _last_states(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """What the head is given for the last document, (L, D)."""
    with torch.no_grad(), head_inputs(model) as states:
        try:
            model(**inputs)
        except (ValueError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{type(model).__name__} does not run on several documents in a row "
                f"({type(error).__name__}: {reason}); leave out packing and padding_free"
            ) from error
    return states[0][0][0, -len(_SECOND) :]


def _differ(one_LD: Tensor, other_LD: Tensor) -> bool:
    tolerance = max(1e-4, 4 * torch.finfo(one_LD.dtype).eps)
    one_LD, other_LD = one_LD.double(), other_LD.double()
    return bool((one_LD - other_LD).norm() > tolerance * one_LD.norm())


def _attention(model: PreTrainedModel) -> str:
    return str(getattr(model.config, "_attn_implementation", None) or "its own")
