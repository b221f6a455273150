"""The token that each state of a micro-batch predicts.

A state predicts the token after it. Prompt tuning and p-tuning put virtual tokens before each
sequence, and the last of these predicts the sequence's first token, as in peft's own loss.

Shapes: N sequences, L positions, D width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from otr.lm_head import IGNORED
from otr.training.token_keys import token_keys

_WITHOUT_STATES = ("PREFIX_TUNING", "CARTRIDGE")
"""Kinds of prompt learning whose virtual tokens are in the cache, so that no state stands for them."""


def predicts_first_token(model: nn.Module) -> bool:
    """Whether a virtual token of the model's active adapter stands before each sequence."""
    config: Any = getattr(model, "active_peft_config", None)
    if not getattr(config, "is_prompt_learning", False):
        return False
    return str(getattr(config.peft_type, "value", config.peft_type)) not in _WITHOUT_STATES


def targets(labels_NL: Tensor, first: bool = False) -> Tensor:
    """The label that each of L states predicts, -100 where none.

    With `first` the states begin at the last virtual token, so that labels stand where they are;
    otherwise they begin at the first token, and each has the label of the next one. (N, L)
    """
    if first:
        return labels_NL
    return nn.functional.pad(labels_NL[:, 1:], (0, 1), value=IGNORED)


def predicting_states(states_NLD: Tensor, length: int, first: bool = False) -> Tensor:
    """The states that predict `targets`: without virtual tokens but, with `first`, the last one.
    (N·L, D)"""
    if first:
        return states_NLD[:, -length - 1 : -1].flatten(0, -2)
    return states_NLD[:, -length:].flatten(0, -2)


def state_keys(
    tokens_NL: Tensor,
    attention_mask_NL: Tensor | None,
    positions_NL: Tensor | None,
    first: bool = False,
) -> Tensor:
    """The key of what each predicting state has seen of its sequence, from which its rollouts
    follow; with `first`, that of the first state is the key of no tokens. (N, L)"""
    keys_NL = token_keys(tokens_NL, attention_mask_NL, positions_NL)
    if not first:
        return keys_NL
    nothing_11 = torch.zeros_like(keys_NL[:1, :1])
    nothing_N1 = token_keys(nothing_11, nothing_11).expand(len(keys_NL), 1)
    return torch.cat((nothing_N1, keys_NL[:, :-1]), dim=1)
