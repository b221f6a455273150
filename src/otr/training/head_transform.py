"""What a loaded model does between its head's output and its logits, measured on the model itself.

Nothing here knows any architecture. A few tokens are run through the model with known values in place
of the head's output; what becomes of them says the rest.

Shapes: N rows, L positions, D width, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from otr.lm_head import LogitTransform
from otr.training.model_head import exchanged_forward, output_head

_SMALL, _LARGE = 2.0**-10, 2.0**20
_PROBE = (-_LARGE, -32.0, -1.0, -_SMALL, _SMALL, 1.0, 32.0, _LARGE)
_NUM_TOKENS = 4


@dataclass(frozen=True)
class HeadTransform(LogitTransform):
    """What a model does between its head's output and its logits."""

    num_words: int | None = None
    """The logits are of so many first words, the rest of the head's rows being padding; None if of
    all."""

    def of_words(self, rows: Tensor) -> Tensor:
        """Those of the head's rows, (V, …), that logits are made of."""
        return rows if self.num_words is None else rows[: self.num_words]


def measured_transform(model: PreTrainedModel) -> HeadTransform:
    """What the model's forward does between its head's output and its logits.

    A few tokens are run through the model, in the mode it is in, with known values in place of the
    head's output, others at every position; and again with another last token.

    Raises: ValueError if the model cannot run on tokens alone, its head is not called once with a
    state for each token, a state depends on a later token, or what becomes of the values is neither
    a factor nor a softcap.
    """
    head, name = output_head(model), type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            f"{name} is an encoder and a decoder, and here rows of tokens go to a decoder alone; "
            "use a trainer for sequence-to-sequence models"
        )
    # DeepSpeed keeps the shape of a partitioned weight aside.
    vocabulary = getattr(head.weight, "ds_shape", head.weight.shape)[0]
    device = head.weight.device
    probe_LV = torch.tensor(_PROBE, dtype=torch.float64, device=device).repeat(
        _NUM_TOKENS, -(-vocabulary // len(_PROBE)) + 1
    )
    probe_LV = torch.stack([row[place : place + vocabulary] for place, row in enumerate(probe_LV)])
    runs = []
    for last in (0, 1):
        states: list[Tensor] = []

        def forward(hidden: Tensor, states: list[Tensor] = states) -> Tensor:
            states.append(hidden)
            _check_states(name, states)
            before = probe_LV[:1].expand(hidden.shape[1] - _NUM_TOKENS, vocabulary)
            return torch.cat((before, probe_LV)).expand(1, -1, -1).clone()

        logits_NLV = _probed(model, forward, last).logits
        if len(states) != 1:
            raise ValueError(
                f"{name} calls its head {len(states)} times in a forward pass, where one is "
                "expected; use SFTTrainer for this model"
            )
        runs.append(states[0][0].double())
    _check_order(name, *runs, eps=torch.finfo(states[0].dtype).eps)
    return _transform(name, logits_NLV, probe_LV)


class _Refusal(ValueError):
    """Raised inside a model's forward."""


def _check_states(name: str, states: list[Tensor]) -> None:
    shape = states[-1].shape
    if len(shape) != 3 or shape[0] != 1 or shape[1] < _NUM_TOKENS:
        raise _Refusal(
            f"{name} gives its head states of shape {tuple(shape)} for {_NUM_TOKENS} tokens, where "
            "one state a token is expected; use SFTTrainer for this model"
        )


def _check_order(name: str, first_LD: Tensor, second_LD: Tensor, eps: float) -> None:
    """Two runs that differ in their last token may differ in its state alone."""
    if not torch.isfinite(first_LD).all():
        raise ValueError(f"{name} makes states that are not finite; look at its weights")
    change = (second_LD - first_LD)[:-1].norm()
    if change > max(1e-4, 4 * eps) * first_LD[:-1].norm():
        raise ValueError(
            f"in {name}, what is known of a token depends on later ones, so it would learn to copy "
            "its labels; a causal language model is needed (some configurations have `is_decoder`, "
            "`causal` or `use_bidirectional_attention` for that)"
        )


def _transform(name: str, logits_NLV: Tensor | None, probe_LV: Tensor) -> HeadTransform:
    """The transform that makes the logits from the probe's values, checked on all of them."""
    if logits_NLV is None or logits_NLV.ndim != 3 or logits_NLV.shape[1] < _NUM_TOKENS:
        raise ValueError(
            f"{name} does not return logits of every token; use SFTTrainer for this model"
        )
    seen_LV = logits_NLV[0, -_NUM_TOKENS:].double()
    vocabulary, num_words = probe_LV.shape[1], seen_LV.shape[1]
    probe_LV = probe_LV[:, :num_words]
    small, large = (
        float(seen_LV[0, _PROBE.index(value)]) if num_words >= len(_PROBE) else 0.0
        for value in (_SMALL, _LARGE)
    )
    fitted = _fitted(small, large)
    expected_LV = fitted.scale * probe_LV
    if fitted.softcap is not None:
        expected_LV = fitted.softcap * torch.tanh(expected_LV / fitted.softcap)
    if seen_LV.shape != expected_LV.shape or not torch.allclose(seen_LV, expected_LV, rtol=1e-2):
        raise ValueError(
            f"{name} changes its logits in a way that is neither a factor nor a softcap, which "
            "the fused head cannot follow; use SFTTrainer for this model, or `otr.logits_loss`"
        )
    return fitted if num_words == vocabulary else replace(fitted, num_words=num_words)


def probed_outputs(model: PreTrainedModel, **inputs: Any) -> Any:
    """What the model's forward returns for a few tokens beside its logits, while it makes none.

    Raises: ValueError where the forward does not go through without them.
    """
    return _probed(model, lambda hidden: hidden.new_zeros(*hidden.shape[:-1], 1), 0, **inputs)


def _probed(
    model: PreTrainedModel, forward: Callable[[Tensor], Tensor], last: int, **inputs: Any
) -> Any:
    """A forward of a few tokens, whose dropout is the same at every call."""
    head = output_head(model)
    device = head.weight.device
    tokens = torch.zeros(1, _NUM_TOKENS, dtype=torch.int64, device=device)
    tokens[0, -1] = last
    random = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with torch.no_grad(), random, exchanged_forward(head, forward):
        torch.manual_seed(0)
        try:
            return model(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                use_cache=False,
                **inputs,
            )
        except torch.OutOfMemoryError:
            raise
        except _Refusal as refusal:
            raise ValueError(str(refusal)) from None
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{type(model).__name__} does not run on tokens alone with its logits made "
                f"elsewhere ({type(error).__name__}: {reason}); use SFTTrainer for this model"
            ) from error


def _fitted(seen_small: float, seen_large: float) -> HeadTransform:
    """The transform that takes `_SMALL` and `_LARGE` to what was seen of them."""
    scale = seen_small / _SMALL
    if abs(seen_large) > 0.5 * abs(scale) * _LARGE:
        return HeadTransform(scale=scale)
    softcap = abs(seen_large)
    scale = softcap * math.atanh(min(seen_small / softcap, 0.5)) / _SMALL if softcap else 0.0
    return HeadTransform(scale=1.0 if abs(scale - 1) < 1e-6 else scale, softcap=softcap)
