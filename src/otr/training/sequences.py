"""Which sequence of a micro-batch a token is in, and how much it weighs where sequences count alike.

Shapes: N rows, L positions.
"""

from typing import Any

import torch
from torch import Tensor

from otr.lm_head import IGNORED
from otr.training.targets import targets

NORMALIZATIONS = ("token", "sequence")


def num_sequences(inputs: dict[str, Any], first: bool = False) -> Tensor:
    """Sequences of a micro-batch that have a supervised token; scalar."""
    return (_lengths_NL(inputs, first)[0] > 0).sum()


def sequence_weights(inputs: dict[str, Any], first: bool = False) -> Tensor:
    """1 / T of each position, T the supervised tokens of its sequence; 0 where nothing is learned.

    A row is a sequence; of packed rows, whose positions begin anew, each document is one. A
    position stands for its target, as in `targets`.

    Shapes: (N, L) float32.
    """
    lengths_S, sequence_NL = _lengths_NL(inputs, first)
    return lengths_S.clamp(min=1).reciprocal()[sequence_NL] * _supervised(inputs, first)


def _lengths_NL(inputs: dict[str, Any], first: bool) -> tuple[Tensor, Tensor]:
    """Supervised tokens of each sequence, some of which may be empty, and the sequence of each
    position."""
    labels_NL = inputs["labels"]
    begins_NL = torch.zeros_like(labels_NL, dtype=torch.long)
    if inputs.get("position_ids") is not None:
        begins_NL = (inputs["position_ids"] == 0).long().expand_as(labels_NL).clone()
    begins_NL[:, 0] = 1
    sequence_NL = begins_NL.flatten().cumsum(0).view_as(labels_NL) - 1
    counts_S = torch.zeros(labels_NL.numel(), device=labels_NL.device)
    counts_S.index_add_(0, sequence_NL.flatten(), _supervised(inputs, first).flatten())
    return counts_S, sequence_NL


def _supervised(inputs: dict[str, Any], first: bool) -> Tensor:
    """1 where a position's target is learned. (N, L) float32."""
    return (targets(inputs["labels"], first) != IGNORED).float()
