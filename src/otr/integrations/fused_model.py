"""A loaded model whose own loss is the objective's, made in its head, for any training loop.

Shapes: N sequences, L positions, D width.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from otr.lm_head import IGNORED, HeadOutput, check_compaction
from otr.objectives import Objective, require_objective
from otr.training.head_loss import loss_in_head
from otr.training.head_transform import HeadTransform, measured_transform, probed_outputs
from otr.training.model_head import fused_head, in_mode, output_head
from otr.training.reference_policy import check_reference, reference_states
from otr.training.router_loss import makes_router_loss, router_coefficient, unnamed_coefficient
from otr.training.targets import predicts_first_token, targets
from otr.training.token_keys import step_seed

_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(kw_only=True, eq=False)
class FusedHead:
    """What a model with a fused head goes by: `model.fused_head`. A training loop sets `step`."""

    objective: Objective
    seed: int
    """Of all rollouts; those of a step follow from it and `step`."""

    step: int = 0
    """The optimizer step, counted from 0. Each has rollouts of its own."""

    progress: float | None = None
    """The share of the training that is done, between 0 and 1, which an objective with a schedule
    needs."""

    last: HeadOutput | None = None
    """Of the last forward pass that made the loss, detached; per-token fields (N·L,), each about
    the token after it; with prompt tuning, about the token itself."""

    compaction: float | str | None = None
    transform: HeadTransform
    reference_model: nn.Module | None = None
    before: Callable[..., Any] | None = None
    """A forward of the model's own that it had instead of its class's."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "FusedHead":
        copied = copy.copy(self)
        copied.before = copy.deepcopy(self.before, memo)
        copied.last = None
        return copied

    def current_objective(self) -> Objective:
        """The objective at this share of the training."""
        if self.progress is not None:
            return self.objective.at(self.progress)
        if self.objective.at(0.0) != self.objective:
            raise ValueError(
                f"{self.objective} changes while training goes on: set model.fused_head.progress, "
                "the share of the training that is done, before each step"
            )
        return self.objective


def with_fused_head(
    model: _Model,
    objective: Objective,
    *,
    seed: int = 0,
    compaction: float | str | None = None,
    reference_model: nn.Module | None = None,
) -> _Model:
    """The model itself, whose loss is the objective's from now on, without logits of all tokens.

        model(input_ids, attention_mask=…, labels=labels, num_items_in_batch=n).loss
            = sum of the objective's L_t over the supervised tokens / n

    in training mode, with the labels shifted inside, as transformers does it; plus the model's own
    loss of a router, in proportion to the tokens, with the coefficient that the model has then.
    After prompt tuning's virtual tokens each sequence's first token is learned too, as in peft.
    Without `num_items_in_batch` the divisor is the
    number of supervised tokens of this call. The logits are None then. Without labels, and in
    evaluation mode, the model answers as it did before, with logits.

    The rollouts follow from `seed`, the optimizer step and a sequence's tokens up to each one: set
    `model.fused_head.step` before each step. A model with an adapter or in data parallelism is
    given to this function after the adapter is put on and before it is wrapped.

    Args:
        model: a causal language model of transformers, or one with an adapter of peft.
        objective: `SFT()`, `DFT()`, `OTR()`, ….
        seed: of the rollouts.
        compaction: as for `linear_loss`.
        reference_model: what an objective's anchor keeps the model near; with an adapter it may be
            left out, and is the model with its adapter off.

    Raises: ValueError where a model or setting cannot work, with what to change; from the forward
        pass too, if there are labels but no input_ids.
    """
    require_objective(objective)
    check_compaction(compaction)
    if hasattr(model, "fused_head"):
        raise ValueError("the model has a fused head already; take it off with without_fused_head")
    if not hasattr(model, "get_output_embeddings"):
        raise ValueError(
            f"{type(model).__name__} is not a model of transformers or peft; put the fused head on "
            "before the model is wrapped for data parallelism or compiled"
        )
    output_head(model)
    if objective.anchor is not None:
        check_reference(model, reference_model)
    with in_mode(model, training=True):
        transform = measured_transform(model)  # type: ignore[arg-type]
        _check_router(model)
    state = FusedHead(
        objective=objective,
        seed=seed,
        compaction=compaction,
        transform=transform,
        reference_model=reference_model,
        before=model.__dict__.get("forward"),
    )
    model.fused_head = state  # type: ignore[assignment]
    # A method of the instance: copying the model binds it to the copy.
    model.forward = MethodType(_forward_of(type(model)), model)
    # Trainers ask for it before they hand a forward the number of tokens of a step.
    model.accepts_loss_kwargs = True  # type: ignore[assignment]
    return model


def without_fused_head(model: _Model) -> _Model:
    """The model itself, as it was before `with_fused_head`.

    Raises: ValueError if it has no fused head.
    """
    state = model.__dict__.get("fused_head")
    if not isinstance(state, FusedHead):
        raise ValueError(f"this {type(model).__name__} has no fused head")
    del model.forward, model.fused_head, model.accepts_loss_kwargs
    if state.before is not None:
        model.forward = state.before
    return model


def _check_router(model: nn.Module) -> None:
    """Raise ValueError if the model makes a router's loss whose weight it does not name."""
    outputs = probed_outputs(model)  # type: ignore[arg-type]
    if makes_router_loss(outputs) and router_coefficient(model) is None:
        raise unnamed_coefficient(model, "output_router_logits=False in its configuration")


def _forward_of(kind: type[nn.Module]) -> Callable[..., Any]:
    """A forward for models of this kind, with the signature of their own."""
    signature = inspect.signature(kind.forward)
    positional = [
        name
        for name, each in signature.parameters.items()
        if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ][1:]

    def forward(self: nn.Module, *args: Any, **inputs: Any) -> Any:
        state: FusedHead = self.fused_head  # type: ignore[assignment]
        inputs |= zip(positional, args, strict=False)
        plain = kind.forward.__get__(self) if state.before is None else state.before
        learned = inputs.get("labels") is not None or inputs.get("shift_labels") is not None
        if self.training and learned:
            return _outputs_with_loss(self, state, plain, inputs)
        return plain(**inputs)

    # Not functools.wraps: accelerate undoes its own wrappers by walking along `__wrapped__`.
    forward.__signature__ = signature
    forward.__doc__ = kind.forward.__doc__
    return torch.compiler.disable(forward, recursive=False)


def _outputs_with_loss(
    model: nn.Module, state: FusedHead, plain: Callable[..., Any], inputs: dict[str, Any]
) -> Any:
    """What the model answers, with the objective's loss and without logits."""
    objective, reference = state.current_objective(), None
    # A reference has no virtual tokens, so none of its states predicts the first token.
    first = objective.anchor is None and predicts_first_token(model)
    targets_NL = _targets(inputs, first)
    num_supervised = (targets_NL != IGNORED).sum()
    num_tokens = inputs.pop("num_items_in_batch", None)
    as_tuple = inputs.pop("return_dict", None) is False
    inputs["use_cache"] = False
    if objective.anchor is not None:
        reference = reference_states(model, state.reference_model, inputs)
    loss = loss_in_head(
        inputs,
        targets_NL,
        objective,
        state.transform,
        first=first,
        seed=step_seed(state.seed, state.step),
        num_tokens=num_tokens,
        compaction=state.compaction,
        reference=reference,
    )
    # The patched forward stays out of it: the call below is the model's own, with its hooks around.
    with fused_head(model, loss) as heads:
        outputs = plain(**inputs, return_dict=True)
    (head,) = heads
    state.last = dataclasses.replace(head, loss=head.loss.detach())
    total = head.loss
    coefficient = router_coefficient(model)
    if coefficient and makes_router_loss(outputs):
        share = 1.0 if num_tokens is None else num_supervised / num_tokens
        total = total + coefficient * share * outputs.aux_loss.to(total.device)
    kept = {name: value for name, value in outputs.items() if name not in ("loss", "logits")}
    made = type(outputs)(loss=total, **kept)
    return made.to_tuple() if as_tuple else made


def _targets(inputs: dict[str, Any], first: bool) -> Tensor:
    """The label that each state predicts, out of the inputs. (N, L)"""
    labels_NL, shifted_NL = inputs.pop("labels", None), inputs.pop("shift_labels", None)
    if inputs.get("input_ids") is None:
        raise ValueError(
            "labels without input_ids: a token's rollouts follow from the tokens before it; pass "
            "input_ids (with prompt tuning, put the fused head on after the adapter)"
        )
    if shifted_NL is None:
        return targets(labels_NL, first)
    if first:
        # They are of the tokens after each token; the states begin a token earlier.
        return nn.functional.pad(shifted_NL[:, :-1], (1, 0), value=IGNORED)
    return shifted_NL
