"""The objective's loss of a micro-batch, as a model's head makes it from its hidden states.

Shapes: N sequences, L positions, D width.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from otr.lm_head import HeadOutput, linear_loss
from otr.objectives import Objective
from otr.training.head_transform import HeadTransform
from otr.training.targets import predicting_states, state_keys


def loss_in_head(
    inputs: Mapping[str, Any],
    targets_NL: Tensor,
    objective: Objective,
    transform: HeadTransform,
    *,
    first: bool = False,
    seed: int,
    num_tokens: Tensor | int | None,
    compaction: float | str | None = None,
    token_weights_NL: Tensor | None = None,
    reference: tuple[Tensor, Tensor] | None = None,
) -> Callable[[Tensor, Tensor, Tensor | None], HeadOutput]:
    """What `fused_head` calls with hidden states, weight and bias of the head.

    The per-token fields of its answer are (N·L,), each about the target at its place.

    Args:
        inputs: of the model's forward; the rollouts follow from its tokens, mask and positions.
        targets_NL: the label that each state predicts, from `targets`.
        objective: at this share of the training.
        transform: of the model.
        first: whether a virtual token predicts each sequence's first token.
        seed: of the rollouts of this step.
        num_tokens: the divisor; the number of supervised tokens unless given.
        compaction: as for `linear_loss`.
        token_weights_NL: a factor on each position's loss.
        reference: what an anchor's reference hands to its head, (N, L, D'), and its head's weight.
    """
    length = targets_NL.shape[1]
    keys_NL = state_keys(
        inputs["input_ids"], inputs.get("attention_mask"), inputs.get("position_ids"), first
    )
    theirs: dict[str, Any] = {}
    if reference is not None:
        states, weight_of_theirs = reference
        theirs = {
            "reference_hidden": predicting_states(states, length),
            "reference_weight": transform.of_words(weight_of_theirs),
        }

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> HeadOutput:
        # The parts of a model may lie on several devices.
        device = hidden.device
        return linear_loss(
            predicting_states(hidden, length, first),
            transform.of_words(weight),
            targets_NL.flatten().to(device),
            objective,
            bias=None if bias is None else transform.of_words(bias),
            logit_scale=transform.scale,
            logit_softcap=transform.softcap,
            seed=seed,
            token_keys=keys_NL.flatten().to(device),
            num_tokens=num_tokens,
            token_weights=None
            if token_weights_NL is None
            else token_weights_NL.flatten().to(device),
            compaction=compaction,
            **{name: value.to(device) for name, value in theirs.items()},
        )

    return loss
