"""Steps whose loss or gradient is not finite never reach the weights; stop signals reach all."""

import math
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.deepspeed import DeepSpeedOptimizerWrapper
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers import TrainerCallback

from otr import runs
from otr.lm_head import IGNORED, HeadOutput
from otr.terminal import visible


class StepGuard(TrainerCallback):
    """Leaves out the update of a step whose loss or gradient is not finite.

    What the step was computed from is written to `folder`, a file a step (and process). So many of
    them in a row, or at the end of training, raise FloatingPointError: the weights are still
    those of the last finite step. Where gradients are scaled (fp16) only the loss counts, since
    the scaler finds its scale by overflows.
    """

    def __init__(self, folder: Path, tokenizer: Any, most_in_a_row: int) -> None:
        self.folder, self.tokenizer, self.most_in_a_row = folder, tokenizer, most_in_a_row
        self.num_in_a_row = 0
        self._seen: list[tuple[dict[str, Any], Tensor, HeadOutput]] = []

    def state(self) -> dict[str, Any]:
        """How many steps in a row were left out last."""
        return {"num_in_a_row": self.num_in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        """Count on from what `state` returned."""
        self.num_in_a_row = state["num_in_a_row"]

    def saw(self, inputs: dict[str, Any], targets_NL: Tensor, head: HeadOutput) -> None:
        """Note a micro-batch of the step: the label that each state predicts, and what the head made
        of it."""
        self._seen.append((inputs, targets_NL, head))

    def on_pre_optimizer_step(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        losses = torch.stack([head.loss.detach().float() for *_, head in self._seen])
        norm = torch.zeros(()) if args.fp16 else _gradient_norm(model, optimizer)
        finite = torch.isfinite(losses).all() & torch.isfinite(norm.to(losses.device))
        if args.world_size > 1:
            agreed = finite.to(torch.int32).reshape(1)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MIN)
            finite = agreed
        if bool(finite.item()):
            self.num_in_a_row = 0
        else:
            discard_gradients(model, optimizer)
            self.num_in_a_row += 1
            self._report(args, state.global_step + 1, float(losses.sum()), float(norm))
        self._seen.clear()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.num_in_a_row:
            raise FloatingPointError(
                f"the last {self.num_in_a_row} step(s) had no finite loss or gradient, so no model is "
                "kept. Lower the learning rate"
            )

    def _report(self, args: Any, step: int, loss: float, norm: float) -> None:
        what = f"loss of step {step} is {loss}"
        if math.isfinite(loss):
            what = f"gradient norm of step {step} is {norm}"
        part = f"-{args.process_index}" if args.world_size > 1 else ""
        path = self.folder / f"step-{step}{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        batches = [_described(*seen, self.tokenizer) for seen in self._seen]
        runs.write_json(path, {"step": step, "found": what, "micro_batches": batches})
        words = f"the {what}: not applied, its batch is in {path}"
        if self.num_in_a_row >= self.most_in_a_row:
            raise FloatingPointError(
                f"{words}\n{self.num_in_a_row} steps in a row were not finite; the weights are "
                f"those of step {step - self.num_in_a_row}. Lower the learning rate, or look at "
                "the batch"
            )
        print(f"note: {visible(words)}", file=sys.stderr)


class StopOnSignal(TrainerCallback):
    """Ends training after a step once the event is set in any process, with a checkpoint."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        wanted = self.event.is_set()
        if args.world_size > 1:
            agreed = torch.tensor([wanted], dtype=torch.int32, device=args.device)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
            wanted = bool(agreed.item())
        if wanted and state.global_step < state.max_steps and not control.should_training_stop:
            self.stopped = True
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stopped:
            # The epoch has not ended: what belongs to its end is for the run that goes on.
            control.should_log = control.should_evaluate = control.should_save = False


def discard_gradients(model: nn.Module, optimizer: Any) -> None:
    """Leave the optimizer's next step nothing to do."""
    if getattr(optimizer, "scaler", None) is not None:
        # A scaler refuses to step where it has seen no gradients; clipping has shown it some, if on.
        with suppress(RuntimeError):
            optimizer.scaler.unscale_(optimizer.optimizer)
    for parameter in model.parameters():
        parameter.grad = None


def _gradient_norm(model: nn.Module, optimizer: Any) -> Tensor:
    """Of this process's share of the gradient.

    DeepSpeed has made its step by now, and left it out itself if the norm was not finite.
    """
    if isinstance(optimizer, DeepSpeedOptimizerWrapper):
        return torch.tensor(torch.nan if optimizer.step_was_skipped else 0.0)
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    local: list[Tensor] = [getattr(each, "_local_tensor", each) for each in gradients]
    return get_total_norm(local) if local else torch.zeros(())


def _described(
    inputs: dict[str, Any], targets_NL: Tensor, head: HeadOutput, tokenizer: Any
) -> dict[str, Any]:
    """A micro-batch: what every row was, and what the model made of its tokens."""
    nll_NL = -head.log_prob.reshape(targets_NL.shape)
    rows = []
    for ids, labels, targets, nll in zip(
        inputs["input_ids"], inputs["labels"], targets_NL, nll_NL, strict=True
    ):
        values = nll[targets != IGNORED]
        rows.append(
            {
                "text": tokenizer.decode(ids.tolist()),
                "input_ids": ids.tolist(),
                "labels": labels.tolist(),
                "num_supervised": len(values),
                "num_not_finite": int((~torch.isfinite(values)).sum()),
                "nll": runs.finite(float(values.float().mean())) if values.numel() else None,
            }
        )
    return {"loss": runs.finite(float(head.loss)), "rows": rows}
