"""TRL's SFTTrainer with the objective exchanged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.sft_config import SFTConfig

from otr import runs
from otr.lm_head import IGNORED, HeadOutput, check_compaction
from otr.objectives import OTR, Objective, require_objective
from otr.training.budget import share_of_steps
from otr.training.cost import HeadTimer
from otr.training.guard import StepGuard
from otr.training.head_loss import loss_in_head
from otr.training.head_transform import HeadTransform, measured_transform, probed_outputs
from otr.training.last_batch import RowLengths, kept_rows, without_repeats
from otr.training.logged import LoggedTrainer
from otr.training.model_head import fused_head, in_mode, output_head
from otr.training.packing import check_documents_apart
from otr.training.parallel import (
    check_one_gpu,
    check_sharding,
    check_unsplit,
    is_partitioned,
    prepared_reference,
)
from otr.training.placeholders import placeholder_ids, without_placeholders
from otr.training.preparation import prepared_rows
from otr.training.reference_policy import check_reference, reference_states
from otr.training.refusals import check_settings
from otr.training.router_loss import (
    agreed_coefficient,
    makes_router_loss,
    unnamed_coefficient,
)
from otr.training.sequences import NORMALIZATIONS, num_sequences, sequence_weights
from otr.training.targets import predicts_first_token, targets
from otr.training.token_keys import EVALUATION_STEP, step_seed

_NOT_THE_MODELS = ("labels", "num_seen")
"""What of a micro-batch is not for the model's forward."""


class OTRTrainer(LoggedTrainer):
    """Supervised fine-tuning with One-Token Rollout, or any objective of `otr.objectives`.

    Takes what `SFTTrainer` takes, with TRL's `SFTConfig`, and the objective. The loss is

        sum over supervised tokens of L_t / number of supervised tokens

    over all micro-batches and processes of an optimizer step, or with `normalization="sequence"`
    the mean of each sequence's own mean, without the logits of all tokens ever being held. Each log
    line has, for every objective: loss, nll, entropy, mean_token_accuracy, hit_rate, reward,
    target_weight (means over supervised tokens, in nats where they have a unit), tokens_per_second,
    peak_memory_mb and num_tokens. hit_rate and reward are of one policy for all objectives, a draw at
    temperature 1 that is rewarded 1 if it hits the label and else 0, so that runs compare;
    rollout_hit_rate and rollout_reward are of the objective's own temperature and rewards; and kept_fraction, the share of the head's gradient that was
    multiplied, where some could be left out. The evaluation loss and NLL are means over tokens too;
    its rollouts are the same at every evaluation.

    Placeholders of images, video and sound in the labels are never learned, drawn or rewarded. The
    last virtual token of prompt tuning and p-tuning predicts each sequence's first token. Uploads to
    the hub are of whole checkpoints, with a card of what was trained.

    Args:
        objective: what to train; `OTR()` unless given.
        normalization: "token", or "sequence": every sequence weighs the same, however long; packed
            documents are sequences of their own. The other figures stay means over tokens.
        compaction: as for `otr.linear_loss`.
        reference_model: the model that an objective's anchor keeps this one near; while an adapter
            is trained it may be left out, and is this model with its adapter switched off.
        max_skipped_steps: a step whose loss or gradient is not finite is not applied, and its batch
            is written to `skipped/` in the output folder; so many in a row end the training with
            FloatingPointError.
        *args, **kwargs: as for `SFTTrainer`.

    A checkpoint is written aside, hashed, flushed and renamed; `train(resume_from_checkpoint=True)`
    goes on from the newest whole one, on a CPU to the same weights, bit by bit, as if it had never
    stopped.

    Raises: ValueError where a model or setting cannot work, with what to change.
    Source: One-Token Rollout, arXiv:2509.26313.
    """

    def __init__(
        self,
        *args: Any,
        objective: Objective | None = None,
        normalization: str = "token",
        compaction: float | str | None = None,
        reference_model: nn.Module | None = None,
        max_skipped_steps: int = 3,
        **kwargs: Any,
    ) -> None:
        self.objective = require_objective(OTR() if objective is None else objective)
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"normalization must be one of {', '.join(NORMALIZATIONS)}, found {normalization!r}"
            )
        self.normalization = normalization
        check_compaction(compaction)
        self.compaction = compaction
        config = kwargs.get("args", args[1] if len(args) > 1 else None)
        given = kwargs.get("model", args[0] if args else None)
        check_settings(config, kwargs)
        check_unsplit(given, config)
        if isinstance(given, nn.Module) and getattr(config, "router_aux_loss_coef", None) is None:
            agreed_coefficient(given)
        super().__init__(*args, **kwargs)
        check_sharding(self)
        # TRL's own check is younger than its oldest release that we take. Not before the trainer has
        # seen a model that lies on several GPUs, for which it counts one.
        check_one_gpu(self.args)
        model: Any = self.accelerator.unwrap_model(self.model)
        output_head(model)
        self._placeholders = placeholder_ids(model.config, self.processing_class)
        self._router_is_off = self.router_aux_loss_coef == 0
        self.reference_model = None
        if self.objective.anchor is not None:
            check_reference(model, reference_model)
            if reference_model is not None:
                self.reference_model = prepared_reference(reference_model, self.accelerator)
        self.logit_transform: HeadTransform | None = None
        # Partitioned weights are only there during a forward pass of the prepared model.
        if not is_partitioned(model):
            self._measure(model)
        if self.args.world_size > 1:
            self.data_collator = RowLengths(self.data_collator)
        # The loss divides by the tokens of the whole optimizer step whatever the model's forward
        # takes, so the trainer must count them.
        self.model_accepts_loss_kwargs = True
        # The filter would log a loss that is not a number as 0; the guard leaves such steps out.
        self.args.logging_nan_inf_filter = False
        self.head_timer = HeadTimer()
        self.guard = StepGuard(
            Path(str(self.args.output_dir)) / runs.SKIPPED, self.processing_class, max_skipped_steps
        )
        self.add_callback(self.guard)
        self.stateful |= {"head": self.head_timer, "guard": self.guard}
        self.progress_share: Callable[[], float] = self._share_of_steps
        """The share of the training that is done, between 0 and 1: what schedules follow."""

    def _measure(self, model: PreTrainedModel) -> None:
        """How the model makes its logits, whether it keeps documents in one row apart, and whether
        it makes a router's loss."""
        with in_mode(model, training=True):
            self.logit_transform = measured_transform(model)
            wanted = {"output_router_logits": True} if self.aux_loss_enabled else {}
            outputs = probed_outputs(model, **wanted)
        if self.padding_free:
            check_documents_apart(model, self._documents)
        makes_loss = makes_router_loss(outputs)
        if self.aux_loss_enabled == makes_loss:
            return
        # Older releases of TRL have no such setting.
        coefficient = getattr(self.args, "router_aux_loss_coef", None)
        if makes_loss and coefficient is None:
            raise unnamed_coefficient(
                model,
                "router_aux_loss_coef among the arguments, or output_router_logits=False in its "
                "configuration",
            )
        if coefficient:
            raise ValueError(
                f"{type(model).__name__} returns no auxiliary loss of its router, so "
                f"router_aux_loss_coef={coefficient} weighs nothing; leave it out"
            )
        self.aux_loss_enabled = False

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: SFTConfig,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        def prepare(rows: Any, args: SFTConfig, *named: Any) -> Any:
            return super(OTRTrainer, self)._prepare_dataset(rows, processing_class, args, *named)

        return prepared_rows(prepare, dataset, args, packing, formatting_func, dataset_name)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective over a micro-batch, divided by the tokens of the optimizer step."""
        mode = self._mode()
        if mode == "eval":
            inputs = self._without_repeats(inputs, self.args.eval_batch_size)
        targets_NL = self.targets(inputs)
        num_supervised = (targets_NL != IGNORED).sum()
        num_averaged = num_supervised
        if not self._averages_tokens:
            num_averaged = num_sequences(inputs, self._predicts_first)
        num_tokens = num_averaged if num_items_in_batch is None else num_items_in_batch
        step = self.state.global_step if mode == "train" else EVALUATION_STEP
        seed = step_seed(self.args.seed, step)
        progress = self.progress_share() if mode == "train" else 1.0
        head, outputs = self.forward_with_head(
            model, inputs, self.objective.at(progress), seed=seed, num_tokens=num_tokens
        )
        mask = inputs.get("attention_mask")
        num_seen = inputs["input_ids"].numel() if mask is None else mask.sum()
        num_seen = inputs.get("num_seen", num_seen)
        self._sums[mode].add(head, num_supervised, num_tokens, num_seen)
        if mode == "train":
            self.guard.saw(inputs, targets_NL, head)

        if not self._averages_tokens:
            self._sums[mode].add_sequences(num_averaged)
        # Zero, but with it the backward pass begins at the forward's output, where sharded and
        # data-parallel models have their hooks.
        loss = head.loss + 0 * outputs.logits.sum()
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # Data parallelism averages gradients over processes; the divisor counted all of them.
            loss = loss * (self.accelerator.num_processes // self.get_tp_size())
        if self.aux_loss_enabled:
            self._sums[mode].add_aux_loss(outputs.aux_loss)
            steps = (
                self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
            )
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / steps
        elif self._router_is_off and self.router_aux_loss_coef:
            raise ValueError(
                f"router_aux_loss_coef is {self.router_aux_loss_coef:g} now and was 0 when the trainer "
                "was made, which switched the router's loss off; set it before"
            )
        # A loss that is not finite makes every gradient of every process so, and is left out.
        loss = loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)
        if return_outputs:
            with torch.no_grad():
                outputs = model(**self._model_inputs(inputs))
        return (loss, outputs) if return_outputs else loss

    def forward_with_head(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        objective: Objective,
        *,
        seed: int = 0,
        num_tokens: Tensor | int | None = None,
    ) -> tuple[HeadOutput, Any]:
        """A forward pass with an objective's loss made in the head.

        Returns: the head's answer, per-token fields (N·L,) for N rows of L positions, each about
        the target at its place; and the model's outputs, whose logits are not to be read.
        """
        inner: Any = self.accelerator.unwrap_model(model)
        if self.logit_transform is None:
            self._measure(inner)
        assert self.logit_transform is not None
        reference = None
        if objective.anchor is not None:
            reference = reference_states(inner, self.reference_model, self._model_inputs(inputs))
        loss = loss_in_head(
            inputs,
            self.targets(inputs),
            objective,
            self.logit_transform,
            first=self._predicts_first,
            seed=seed,
            num_tokens=num_tokens,
            compaction=self.compaction,
            token_weights_NL=None
            if self._averages_tokens
            else sequence_weights(inputs, self._predicts_first),
            reference=reference,
        )

        def timed(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> HeadOutput:
            with self.head_timer.running(hidden.device):
                return loss(hidden, weight, bias)

        with fused_head(inner, timed) as heads:
            outputs = model(**self._model_inputs(inputs))
        (head,) = heads
        return head, outputs

    def targets(self, inputs: dict[str, Any]) -> Tensor:
        """The label that each state of a micro-batch predicts, -100 where none. (N, L)"""
        return targets(inputs["labels"], self._predicts_first)

    @property
    def _predicts_first(self) -> bool:
        # A reference has no virtual tokens, so none of its states predicts the first token.
        model = self.accelerator.unwrap_model(self.model)
        return self.objective.anchor is None and predicts_first_token(model)

    def get_batch_samples(self, epoch_iterator: Any, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of an optimizer step, and the number of their supervised tokens."""
        # Not by the model's mode: one that was just loaded is not in training mode yet.
        counted = (
            self._without_repeats(inputs, self.args.train_batch_size) for inputs in epoch_iterator
        )
        return super().get_batch_samples(counted, *args, **kwargs)

    def _without_repeats(self, inputs: dict[str, Any], per_process: int) -> dict[str, Any]:
        """A micro-batch that has just come from its loader; rows that only fill up an epoch's last
        step, so that each process has as many, and placeholders of images count nowhere."""
        inputs = without_placeholders(inputs, self._placeholders)
        kept = None
        if not self.args.dataloader_drop_last:
            kept = kept_rows(self.accelerator, per_process)
        return without_repeats(inputs, kept)

    def _share_of_steps(self) -> float:
        return share_of_steps(self.state)

    def _model_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What the model's own forward gets: no labels, so that it makes no loss of its own."""
        model_inputs = {key: value for key, value in inputs.items() if key not in _NOT_THE_MODELS}
        model_inputs["use_cache"] = False
        if self.aux_loss_enabled:
            model_inputs["output_router_logits"] = True
        return model_inputs

    def _documents(self, documents: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What the model's forward gets for documents in one row."""
        rows = [{"input_ids": list(ids), "labels": list(ids)} for ids in documents]
        batch = without_repeats(self._prepare_inputs(self.data_collator(rows)), None)
        return self._model_inputs(batch)

    @property
    def _averages_tokens(self) -> bool:
        return self.normalization == "token"

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """What the loss of an optimizer step is divided by: its supervised tokens, or sequences."""
        # Counted by the trainer's own means, which knows of processes: labels after one that is
        # ignored, however they are shifted.
        counted = [self.targets(batch) for batch in batch_samples]
        if not self._averages_tokens:
            counts = [int(num_sequences(batch, self._predicts_first)) for batch in batch_samples]
            counted = [torch.zeros(1, count).long() for count in counts]
        stand_ins = [
            {"labels": nn.functional.pad(each, (1, 0), value=IGNORED), "shift_labels": each}
            for each in counted
        ]
        return super()._get_num_items_in_batch(stand_ins, device)

    def _mode(self) -> str:
        assert self.model is not None
        return "train" if self.model.training else "eval"
