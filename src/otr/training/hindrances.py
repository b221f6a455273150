"""What of a model its own settings keep from being learned or saved: weights too coarse for a step, an
end token that an adapter leaves frozen, and generation settings that transformers does not save.

V is the size of the vocabulary, D the width, R some rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from otr.terminal import visible
from otr.training.model_head import output_head
from otr.training.trainer import OTRTrainer

_MOST_SAMPLED = 100_000
"""Weights looked at of each tensor."""
_WARNED_SHARE = 0.1
# Rows of unused tokens are zero, or copies of one another up to the noise of their start.
_SAME = 1e-3
_NEAREST = 8
_ROWS = 8192
"""Rows of the head that are float32 at once."""


def hindrances(
    trainer: OTRTrainer, end_tokens: Mapping[str, int], end_prob: float | None = None
) -> tuple[str, ...]:
    """What the model of a trainer would not learn or keep, a line each.

    Args:
        end_tokens: the tokens that end the learned answers, and how many end with each.
        end_prob: their mean probability before training, if it is known.
    """
    found = (
        trainer.left_out,
        _coarse_weights(trainer),
        _frozen_end_token(trainer, end_tokens, end_prob),
    )
    return tuple(line for line in found if line)


def unmoved_share(weights: Iterable[Tensor], step: float) -> float:
    """The share of weights that a change by `step` leaves as they are: it is below half of the distance
    to the next number of their type. Of large tensors an even sample is taken."""
    unmoved, total = 0.0, 0
    for weight in weights:
        flat = weight.detach().flatten()
        sample = flat[:: -(-len(flat) // _MOST_SAMPLED) or 1]
        limits = torch.finfo(weight.dtype)
        # A weight is m 2^e with m in [1/2, 1), and its neighbours are eps 2^(e - 1) away.
        exponent = torch.frexp(sample.float()).exponent - 1
        spacing = torch.ldexp(torch.full_like(exponent, limits.eps, dtype=torch.float32), exponent)
        finest = limits.smallest_normal * limits.eps
        spacing = torch.where(sample == 0, finest, spacing.clamp(min=finest))
        unmoved += float((spacing / 2 > step).float().mean()) * len(flat)
        total += len(flat)
    return unmoved / total if total else 0.0


def _coarse_weights(trainer: OTRTrainer) -> str:
    arguments, model = trainer.args, trainer.model
    assert model is not None
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    # These keep a finer copy, or what rounding has lost.
    is_finer = any(word in optimizer for word in ("anyprecision", "stable_adamw"))
    is_finer = is_finer or bool(arguments.deepspeed) or trainer.is_fsdp_enabled
    if is_finer or not any(word in optimizer for word in ("adam", "lion")):
        return ""
    coarse = [
        weight
        for weight in model.parameters()
        if weight.requires_grad and weight.dtype in (torch.bfloat16, torch.float16)
    ]
    share = unmoved_share((weight for weight in coarse if weight.numel()), arguments.learning_rate)
    if share < _WARNED_SHARE:
        return ""
    name = str(coarse[0].dtype).removeprefix("torch.")
    return (
        f"a step of AdamW at training.learning_rate={arguments.learning_rate:g} leaves {share:.1%} of "
        f"the {name} weights as they are: it is less than half of the distance to the next {name} "
        "number; load them in float32 (training.model_init_kwargs) and set training.bf16: true, or "
        "train an adapter (lora)"
    )


def _frozen_end_token(
    trainer: OTRTrainer, end_tokens: Mapping[str, int], end_prob: float | None
) -> str:
    model: Any = trainer.model
    weight_VD = output_head(model).weight
    is_adapted = any(weight.requires_grad for weight in model.parameters())
    if weight_VD.requires_grad or not is_adapted or weight_VD.numel() == 0 or not end_tokens:
        return ""
    token = max(end_tokens, key=lambda name: end_tokens[name])
    tokenizer: Any = trainer.processing_class
    number = tokenizer.convert_tokens_to_ids(token)
    if looks_untrained(weight_VD, number):
        why = "its row of the head looks untrained"
    elif end_prob is not None and end_prob < 1 / len(weight_VD):
        why = f"its probability of {end_prob:.1e} is below one of {len(weight_VD)} tokens'"
    else:
        return ""
    return (
        f"the model may not learn to stop: answers end with {visible(token)}, {why}, and the adapter "
        "leaves the head frozen; add lora.modules_to_save: [lm_head, embed_tokens] (or what the model "
        "calls them), or choose a chat template that ends turns with a token the model knows"
    )


def looks_untrained(weight_VD: Tensor, number: int) -> bool:
    """Whether a token's row of the head is zero or a copy of another's, as rows are that no text has
    trained."""
    with torch.no_grad():
        row_D = weight_VD[number].float()
        norms, distances = [], []
        for rows_RD in weight_VD.detach().split(_ROWS):
            rows_RD = rows_RD.float()
            norms.append(rows_RD.norm(dim=1))
            # The difference of large numbers is inexact, so that it only picks who is looked at.
            distances.append(norms[-1].square() - 2 * (rows_RD @ row_D))
        norms_V, distances_V = torch.cat(norms), torch.cat(distances)
        usual = norms_V.median()
        if norms_V[number] <= _SAME * usual:
            return True
        distances_V[number] = torch.inf
        nearest = distances_V.topk(min(_NEAREST, len(distances_V) - 1), largest=False).indices
        gaps = (weight_VD[nearest].float() - row_D).norm(dim=1)
        return bool((gaps <= _SAME * usual).any())
