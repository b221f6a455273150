"""The objectives in `transformers.Trainer`, and in what is made from it."""

from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback

from otr.integrations.fused_model import FusedHead
from otr.lm_head import IGNORED, HeadOutput, logits_loss
from otr.objectives import OTR, Objective, require_objective
from otr.training.budget import share_of_steps
from otr.training.parallel import check_one_gpu
from otr.training.router_loss import makes_router_loss
from otr.training.token_keys import EVALUATION_STEP, step_seed, token_keys

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
        """Of the last call, per-token fields (N·L,), each about the token after it."""
        self._router_coefficient: float | None = None
        self._is_training = True
        self._inputs: dict[str, Any] | None = None
        self._hook: Any = None

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Read along what the model is given: a loss function of a trainer sees no input_ids.

        Raises: ValueError if the trainer would split each batch among several GPUs.
        """
        check_one_gpu(args)
        if self._hook is not None:
            self._hook.remove()
        if self.seed is None:
            self.seed = args.seed
        config = getattr(model, "config", None)
        if config is not None:
            config = config.get_text_config()
            self._router_coefficient = getattr(config, "router_aux_loss_coef", None)
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
        logits = outputs.logits if hasattr(outputs, "logits") else outputs["logits"]
        # Prompt-learning adapters put tokens of their own in front of each sequence.
        logits = logits[:, -labels.shape[1] :][:, :-1].flatten(0, 1)
        next_T = labels[:, 1:].flatten().to(logits.device)
        keys_NL = token_keys(inputs["input_ids"], inputs["attention_mask"], inputs["position_ids"])
        num_supervised = (next_T != IGNORED).sum()
        num_tokens = num_supervised if num_items_in_batch is None else num_items_in_batch
        step = self.step if self._is_training else EVALUATION_STEP
        head = logits_loss(
            logits,
            next_T,
            self.objective.at(self.progress if self._is_training else 1.0),
            seed=step_seed(0 if self.seed is None else self.seed, step),
            token_keys=keys_NL[:, :-1].flatten().to(logits.device),
            num_tokens=num_tokens,
        )
        self.last = head
        if self._router_coefficient and makes_router_loss(outputs):
            share = num_supervised / num_tokens
            return head.loss + self._router_coefficient * share * outputs.aux_loss.to(logits.device)
        return head.loss


def objective_loss_func(objective: Objective | None = None, *, seed: int | None = None) -> Any:
    """An objective for `transformers.Trainer`, on the full logits: for small vocabularies.

        loss = objective_loss_func(OTR())
        Trainer(model, args, train_dataset=…, compute_loss_func=loss, callbacks=[loss])

    The answer goes into both places: as a callback it learns the step and the tokens, from which
    the rollouts follow. The loss is the objective's sum over the supervised tokens, divided by
    those of the whole optimizer step, whatever the gradient accumulation; the updates are those of
    `OTRTrainer`, which never holds the logits of all tokens, as `with_fused_head` does not either.

    Args:
        objective: `OTR()` unless given.
        seed: of the rollouts; the trainer's unless given.

    Raises: ValueError if the objective cannot work on logits; when called, if it was not passed in
        `callbacks`.
    """
    objective = require_objective(OTR() if objective is None else objective)
    if objective.anchor is not None:
        raise ValueError("an anchor needs hidden states and a head: use otr.with_fused_head")
    return ObjectiveLoss(objective, seed)
