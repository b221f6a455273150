"""TRL's SFTTrainer with checkpoints that cannot be half, and that training goes on from exactly."""

import sys
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import TrainerCallback, TrainerState
from transformers.trainer_utils import TrainOutput

from otr import runs
from otr.errors import UserError
from otr.terminal import visible
from otr.training.checkpoints import (
    ASIDE,
    checkpoint_name,
    find,
    keep_newest,
    seal,
    sweep,
    why_broken,
)
from otr.training.generation_settings import made_savable
from otr.training.hub import CARD, HubTrainer
from otr.training.parallel import has_sharded_state, tensors_alone, whole_weights

_NOT_KEPT = ("training_args.bin", CARD)
"""Of a checkpoint: a pickle that nobody reads, and peft's card."""

_STATE = "trainer_state.json"


class Stateful(Protocol):
    """What has a state that belongs into checkpoints, as plain values."""

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        ...


class ResumableTrainer(HubTrainer):
    """Checkpoints are written aside, hashed, flushed and renamed; the newest whole one is gone on
    from, with everything that counts restored: the trainer's own state, and `stateful`'s."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.left_out = made_savable(self.accelerator.unwrap_model(self.model))
        """What of the model's generation settings cannot be saved, in words."""
        self.stateful: dict[str, Stateful] = {}
        """By name, what goes into every checkpoint besides what the trainer puts there."""
        self._aside: Path | None = None
        self._begins_from: Path | None = None
        self.add_callback(_Restored(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """As `SFTTrainer.train`; True goes on from the newest whole checkpoint, if there is one.

        Raises: ValueError if the checkpoint that is named is not as its manifest says.
        """
        named = resume_from_checkpoint
        if named is True:
            found = find(Path(str(self.args.output_dir)))
            for line in found.broken:
                warnings.warn(f"not whole, so not used: {line}", stacklevel=2)
            named = None if found.newest is None else str(found.newest)
        elif named and (reason := why_broken(Path(named))):
            raise ValueError(f"{named} is not whole: {reason}")
        self._begins_from = Path(named) if named else None
        if self._begins_from is not None:
            state = TrainerState.load_from_json(str(self._begins_from / _STATE))
            if self._has_ended(state):
                return self._train_no_further(state)
        return super().train(resume_from_checkpoint=named or None, **kwargs)

    def _has_ended(self, state: TrainerState) -> bool:
        """Whether a checkpoint is of the last step, also by settings that ask for more of them."""
        if self.args.max_steps > 0:
            return state.global_step >= self.args.max_steps
        more_epochs = self.args.num_train_epochs > state.num_train_epochs
        return state.global_step >= state.max_steps and not more_epochs

    def _train_no_further(self, state: TrainerState) -> TrainOutput:
        """Take over a checkpoint of the last step, after which the trainer would do one more."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            batches = self.get_train_dataloader()
            self._prepare_for_training(state.max_steps, batches, str(self._begins_from))
        else:
            self._load_from_checkpoint(str(self._begins_from))
        self.state = state
        self.restore()
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        return TrainOutput(state.global_step, self._total_loss_scalar / state.global_step, {})

    def _send_telemetry(self) -> None:
        """TRL's trainers report that they were made; this one does not."""

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        with tensors_alone():
            return super()._prepare_for_training(*args, **kwargs)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """As `SFTTrainer.evaluate`.

        Raises: UserError if a training's evaluation lacks the metric that its best model is chosen by.
        """
        measured = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        metric = self.args.metric_for_best_model
        # One of several data sets has a prefix of its own.
        if metric is None or not self.is_in_train or metric_key_prefix != "eval":
            return measured
        wanted = f"eval_{metric.removeprefix('eval_')}"
        if wanted not in measured:
            raise UserError(
                f"training.metric_for_best_model: this run logs no {wanted!r}, only "
                f"{', '.join(sorted(measured))}"
            )
        return measured

    def _load_best_model(self) -> None:
        """The best checkpoint's weights, if it is still as its manifest says."""
        best = Path(str(self.state.best_model_checkpoint))
        if reason := why_broken(best):
            raise ValueError(f"{best}, the best checkpoint, is not whole: {reason}")
        with tensors_alone():
            super()._load_best_model()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The whole model, which `from_pretrained` loads; checkpoints of a sharded model whose
        state dict is sharded too hold only the shards."""
        shards = isinstance(self.model, FSDPModule) and has_sharded_state(self.accelerator)
        if not (_internal_call and shards):
            super().save_model(output_dir, _internal_call)

    def write_model(self, output_dir: str) -> None:
        """Write the whole model into a folder, and upload nothing."""
        if isinstance(self.model, FSDPModule):
            self._save(output_dir, state_dict=whole_weights(self.model, self.args.should_save))
        else:
            super().write_model(output_dir)

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._aside is None else str(self._aside)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """The trainer's own checkpoint, whole or not at all.

        One that cannot be written (a full disk) is given up with a message; the last one stays.
        """
        folder = Path(self._get_output_dir(trial))
        name = checkpoint_name(self.state.global_step)
        if self.args.should_save:
            sweep(folder)
        self.accelerator.wait_for_everyone()
        problem = None
        self._aside = folder / ASIDE
        try:
            super()._save_checkpoint(model, trial)
            self._write_own_state(folder / ASIDE / name)
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                # The others are in the middle of gathering parts, and would wait for this one.
                raise
            problem = str(error)
        finally:
            self._aside = None
        all_wrote = self._all_agree(problem is None)
        if self.args.should_save:
            try:
                if all_wrote:
                    self._name_best(folder, name)
                    seal(folder / ASIDE / name, folder / name)
                    self.push_whole(folder / name)
                    limit = self.args.save_total_limit
                    keep_newest(folder, limit, self.state.best_model_checkpoint)
            except OSError as error:
                problem = str(error)
            if problem is not None or not all_wrote:
                _tell_unsaved(folder, name, problem or "another process could not write its part")
            sweep(folder)
        self.accelerator.wait_for_everyone()

    def _write_own_state(self, folder: Path) -> None:
        for name in _NOT_KEPT:
            (folder / name).unlink(missing_ok=True)
        state = {
            "logged": {
                "loss": float(getattr(self, "_tr_loss", 0.0)),
                "all_losses": float(getattr(self, "_total_loss_scalar", 0.0)),
                "step": int(getattr(self, "_globalstep_last_logged", self.state.global_step)),
                "num_tokens": self._total_train_tokens,
            },
            **{name: part.state() for name, part in self.stateful.items()},
        }
        runs.write_json(folder / own_state_name(self.args.process_index), state)

    def restore(self) -> None:
        """Restore what `_write_own_state` wrote, once the trainer has restored its own."""
        if self._begins_from is None:
            return
        path = self._begins_from / own_state_name(self.args.process_index)
        if not path.is_file():
            return
        state = runs.read_json(path)
        logged = state["logged"]
        self._tr_loss = torch.tensor(logged["loss"], device=self.args.device)
        self._total_loss_scalar = logged["all_losses"]
        self._globalstep_last_logged = logged["step"]
        self._total_train_tokens = logged["num_tokens"]
        for name, part in self.stateful.items():
            if name in state:
                part.restore(state[name])

    def _name_best(self, folder: Path, name: str) -> None:
        """Let the trainer's state call the best checkpoint by the name it is about to get."""
        if self.state.best_model_checkpoint == str(folder / ASIDE / name):
            self.state.best_model_checkpoint = str(folder / name)
            self.state.save_to_json(str(folder / ASIDE / name / _STATE))

    def _all_agree(self, agree: bool) -> bool:
        if self.args.world_size == 1:
            return agree
        vote = torch.tensor([agree], dtype=torch.int32, device=self.args.device)
        torch.distributed.all_reduce(vote, torch.distributed.ReduceOp.MIN)
        return bool(vote.item())


class _Restored(TrainerCallback):
    """Restores when training begins, after the trainer has reset what it counts."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.restore()


def own_state_name(process_index: int | str) -> str:
    """The file of a checkpoint that holds what one process counts."""
    return f"otr_state_{process_index}.json"


def _tell_unsaved(folder: Path, name: str, problem: str) -> None:
    kept = find(folder).newest
    what = "there is no older one" if kept is None else f"{kept.name} is whole and stays"
    print(
        f"PROBLEM: {name} could not be written: {visible(problem[:300])}; {what}", file=sys.stderr
    )
