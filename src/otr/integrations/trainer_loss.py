"""The objectives in `transformers.Trainer`, and in what is made from it."""

from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback

from otr.integrations.fused_model import FusedHead
from otr.lm_head import IGNORED, HeadOutput, logits_loss
from otr.objectives import OTR, Objective, require_objective
from otr.training.budget import share_of_steps
from otr.training.parallel import check_one_gpu
from otr.training.router_loss import makes_router_loss, router_coefficient
from otr.training.targets import predicting_states, predicts_first_token, state_keys, targets
from otr.training.token_keys import EVALUATION_STEP, step_seed

_READ = ("input_ids", "attention_mask", "position_ids")


class FollowTrainer(TrainerCallback):
    """Tells a model with a fused head which step a trainer is at: for `callbacks`.

    The model may have an adapter or be wrapped; so that its rollouts are those of `OTRTrainer`,
    pass `with_fused_head` the trainer's seed.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        check_one_gpu(args)

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        found = [
            part.__dict__["fused_head"]
            for part in model.modules()
            if isinstance(part.__dict__.get("fused_head"), FusedHead)
        ]
        if len(found) != 1:
            raise ValueError(
                f"the trainer's model has {len(found)} fused heads, where one is expected; put it "
                "on with otr.with_fused_head, or leave this callback out"
            )
        found[0].step = state.global_step
        found[0].progress = share_of_steps(state)


class ObjectiveLoss(TrainerCallback):
    """A `compute_loss_func` that is a callback too; see `objective_loss_func`."""

    def __init__(self, objective: Objective, seed: int | None) -> None:
        self.objective, self.seed = objective, seed
        self.step, self.progress = 0, 0.0
        self.last: HeadOutput | None = None
        """Of the last call, per-token fields (N·L,), each about the token after it; with prompt
        tuning, about the token itself."""
        self._trainer_seed = 0
        self._is_training = True
        self._inputs: dict[str, Any] | None = None
        self._model: nn.Module | None = None
        self._hook: Any = None

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Read along what the model is given: a loss function of a trainer sees no input_ids.

        Raises: ValueError if the trainer would split each batch among several GPUs.
        """
        check_one_gpu(args)
        self._follow(args, model)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Follow the model that is trained: `model_init` makes another for each training."""
        self._follow(args, model)

    def _follow(self, args: Any, model: nn.Module) -> None:
        self._trainer_seed = args.seed
        if model is self._model:
            return
        if self._hook is not None:
            self._hook.remove()
        self._model = model
        self._hook = model.register_forward_pre_hook(self._read, with_kwargs=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step = state.global_step
        self.progress = share_of_steps(state)

    def _read(self, model: nn.Module, args: Any, inputs: dict[str, Any]) -> None:
        self._inputs = {name: inputs.get(name) for name in _READ}
        self._is_training = model.training

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The loss of a micro-batch, whose labels are shifted here. Labels (N, L)."""
        inputs, self._inputs = self._inputs, None
        if inputs is None or inputs["input_ids"] is None:
            raise ValueError(
                "the loss function has not seen input_ids; it is a callback too: "
                "Trainer(…, compute_loss_func=loss, callbacks=[loss])"
            )
        assert self._model is not None
        logits = outputs.logits if hasattr(outputs, "logits") else outputs["logits"]
        first = predicts_first_token(self._model)
        # Without prompt tuning the last position predicts nothing, and its logits are left out.
        kept = slice(None) if first else slice(-1)
        targets_NL = targets(labels, first)[:, kept].to(logits.device)
        num_supervised = (targets_NL != IGNORED).sum()
        num_tokens = num_supervised if num_items_in_batch is None else num_items_in_batch
        step = self.step if self._is_training else EVALUATION_STEP
        ids_NL, mask_NL, positions_NL = (inputs[name] for name in _READ)
        keys_NL = state_keys(ids_NL, mask_NL, positions_NL, first)
        states_NLV = logits if first else logits[:, :-1]
        head = logits_loss(
            predicting_states(states_NLV, targets_NL.shape[1], first),
            targets_NL.flatten(),
            self.objective.at(self.progress if self._is_training else 1.0),
            seed=step_seed(self._trainer_seed if self.seed is None else self.seed, step),
            token_keys=keys_NL[:, kept].flatten().to(logits.device),
            num_tokens=num_tokens,
        )
        self.last = head
        coefficient = router_coefficient(self._model)
        if coefficient and makes_router_loss(outputs):
            share = num_supervised / num_tokens
            return head.loss + coefficient * share * outputs.aux_loss.to(logits.device)
        return head.loss


class ObjectiveMixin:
    """A trainer of transformers, or a subclass, whose loss is an objective's on the full logits.

        class ObjectiveTrainer(ObjectiveMixin, Trainer): ...
        ObjectiveTrainer(model, args, train_dataset=…, objective=OTR())

    As `objective_loss_func`, in one place instead of two, and without the argument
    `compute_loss_func`, which TRL's trainers lose in their version 2.0.

    Args:
        objective: `OTR()` by default.
        *args, **kwargs: as for the trainer.

    Raises: ValueError if the objective cannot work on logits.
    """

    def __init__(self, *args: Any, objective: Objective | None = None, **kwargs: Any) -> None:
        self.objective_loss: ObjectiveLoss = objective_loss_func(objective)
        callbacks = [*(kwargs.pop("callbacks", None) or ()), self.objective_loss]
        super().__init__(*args, callbacks=callbacks, **kwargs)  # type: ignore[call-arg]
        # The loss is divided by the tokens of the whole optimizer step, which the trainer counts only
        # for a loss that says so.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective over a micro-batch, divided by the tokens of the optimizer step."""
        trainer: Any = self
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        loss = self.objective_loss(outputs, inputs["labels"], num_items_in_batch)
        if num_items_in_batch is not None and trainer.args.average_tokens_across_devices:
            # Data parallelism averages gradients over processes; the divisor counted all of them.
            loss = loss * (trainer.accelerator.num_processes // trainer.get_tp_size())
        return (loss, outputs) if return_outputs else loss


def objective_loss_func(objective: Objective | None = None, *, seed: int | None = None) -> Any:
    """An objective for `transformers.Trainer`, on the full logits: for small vocabularies.

        loss = objective_loss_func(OTR())
        Trainer(model, args, train_dataset=…, compute_loss_func=loss, callbacks=[loss])

    The answer goes into both places: as a callback it learns the step and the tokens, from which
    the rollouts follow. The loss is the objective's sum over the supervised tokens, divided by
    those of the whole optimizer step, whatever the gradient accumulation; the updates are those of
    `OTRTrainer`, which never holds the logits of all tokens, as `with_fused_head` does not either.
    `model_init` and a search for hyperparameters work: the model of each training is followed. For
    trainers without `compute_loss_func` there is `ObjectiveMixin`.

    Args:
        objective: `OTR()` by default.
        seed: of the rollouts; the trainer's by default.

    Raises: ValueError if the objective cannot work on logits; when called, if it was not passed in
        `callbacks`.
    """
    objective = require_objective(OTR() if objective is None else objective)
    if objective.anchor is not None:
        raise ValueError("an anchor needs hidden states and a head: use otr.with_fused_head")
    return ObjectiveLoss(objective, seed)
