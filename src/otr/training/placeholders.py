"""Placeholders of images, video and sound among the tokens, which are nothing to learn.

A processor puts as many of them into the text as the encoder makes states, and the model puts those
states in their place. What comes next is decided by the size of the image, not by the model.
"""

from typing import Any

import torch
from torch import Tensor

from otr.lm_head import IGNORED

_NAMES = tuple(
    f"{kind}_token_{suffix}" for kind in ("image", "video", "audio") for suffix in ("id", "index")
)
"""How configurations and processors name the id that stands where states are put."""


def placeholder_ids(*owners: Any) -> tuple[int, ...]:
    """The ids of placeholders that a model's configuration or a processor names; none for text."""
    parts = [
        getattr(owner, name, None)
        for owner in owners
        for name in (getattr(owner, "sub_configs", None) or ())
    ]
    named = {getattr(each, name, None) for each in (*owners, *parts) for name in _NAMES}
    return tuple(sorted(value for value in named if isinstance(value, int)))


def without_placeholders(inputs: dict[str, Any], ids: tuple[int, ...]) -> dict[str, Any]:
    """The batch with nothing to learn at placeholders."""
    labels_NL: Tensor | None = inputs.get("labels")
    if not ids or labels_NL is None:
        return inputs
    is_placeholder_NL = torch.isin(labels_NL, torch.tensor(ids, device=labels_NL.device))
    return {**inputs, "labels": labels_NL.masked_fill(is_placeholder_NL, IGNORED)}
