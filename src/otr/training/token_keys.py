"""The identity of a token, from which its rollouts follow.

A token's key is a hash of the tokens of its sequence up to its position, so that the rollouts do
not depend on the batch, the padding, the packing or the process that the sequence is in.

Shapes: N sequences, L positions.
"""

import torch
from torch import Tensor

EVALUATION_STEP = -1
"""Stands for the step in `step_seed` where a model is evaluated: the same rollouts each time."""


def token_keys(
    tokens_NL: Tensor, attention_mask_NL: Tensor | None = None, positions_NL: Tensor | None = None
) -> Tensor:
    """A 64-bit key of each token: a hash of its sequence up to and including it.

    With `positions_NL`, a new sequence begins wherever the position is 0 (packed rows);
    otherwise each row is one sequence, and positions count where the mask is 1.

    Shapes: all (N, L) int64; result (N, L) int64.
    """
    length = tokens_NL.shape[1]
    counted_NL = torch.ones_like(tokens_NL)
    if positions_NL is None:
        if attention_mask_NL is not None:
            counted_NL = (attention_mask_NL != 0).long()
        positions_NL = counted_NL.cumsum(1) - 1
    mixed_NL = _mix(tokens_NL + _mix(positions_NL)) * counted_NL
    running_NL = mixed_NL.cumsum(1)
    columns_L = torch.arange(length, device=tokens_NL.device)
    first_NL = columns_L.where((positions_NL == 0) & (counted_NL == 1), 0).cummax(1).values
    before_NL = (running_NL - mixed_NL).gather(1, first_NL)
    return _mix(running_NL - before_NL)


def step_seed(seed: int, step: int) -> int:
    """The 64-bit seed of all rollouts of one optimizer step."""
    words = torch.tensor([seed, step], dtype=torch.int64)
    return int(_mix(_mix(words[0]) + words[1])) & 0xFFFFFFFFFFFFFFFF


def _mix(value: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), modulo 2^64."""
    value = value - 0x61C8864680B583EB
    value = (value ^ ((value >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    value = (value ^ ((value >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return value ^ ((value >> 31) & 0x1FFFFFFFF)
