"""Making, replacing and filling a run folder."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError
from transformers import Trainer

from otr import runs
from otr.errors import UserError, first_line
from otr.runs import read_yaml
from otr.training.checkpoints import find
from otr.training.config import Run, differences, written
from otr.training.environment import installed_version
from otr.training.hub import CARD, HubTrainer
from otr.training.model_card import card_of

_MAY_CHANGE = (
    "dataloader_num_workers", "dataloader_prefetch_factor", "logging_dir", "report_to", "run_name",
    "save_steps", "save_strategy", "save_total_limit",
)  # fmt: skip
"""Settings of `training:` that change nothing of what is computed."""


_UPLOAD_ERRORS: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, RuntimeError)
"""Of the hub's client: those of its HTTP library, which differs by release, OSError, and RuntimeError
around either."""


@dataclass(frozen=True)
class Standing:
    """What a run folder holds of a run."""

    is_begun: bool
    """There is a configuration, which was written before training began."""

    is_finished: bool
    """There is a model, which is written last."""

    checkpoint: Path | None = None
    """The newest whole one of a run that has begun."""

    notes: tuple[str, ...] = ()
    """What the user should know of it."""


def check_folder(folder: Path) -> None:
    """Raise UserError unless the folder can be a run's, or is one."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir: {folder} is a file; give a folder")
    runs.refuse_links(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / runs.CONFIG).is_file():
        raise UserError(
            f"output_dir: {folder} holds files that are not a run's; give an empty or new folder"
        )


def standing(folder: Path, resolved: Run, data_sha256: dict[str, str]) -> Standing:
    """How far the run in a folder is, which must be the run that is asked for.

    Raises: UserError that shows what differs, or if there are checkpoints but none is whole.
    """
    check_folder(folder)
    if not (folder / runs.CONFIG).is_file():
        return Standing(False, False)
    differing = differences(
        _compared(read_yaml(folder / runs.CONFIG)), _compared(written(resolved))
    )
    before = runs.read_as(folder / runs.ENVIRONMENT, runs.Environment)
    changed = [
        f"{path}: its contents have changed since the run began"
        for path, digest in before["data_sha256"].items()
        if data_sha256.get(path, digest) != digest
    ]
    if differing or changed:
        shown = "\n".join(f"  {line}" for line in [*differing, *changed][:8])
        raise UserError(
            f"output_dir: {folder} already holds a run, made otherwise:\n{shown}\n"
            "give another folder, or --restart to replace it"
        )
    if (folder / runs.MODEL).is_dir():
        return Standing(True, True)
    found = find(folder / runs.CHECKPOINTS)
    if found.newest is None and found.broken:
        raise UserError(
            f"output_dir: no checkpoint in {folder} is whole:\n  "
            + "\n  ".join(found.broken)
            + "\n--restart begins anew"
        )
    notes = [f"not whole, so not used: {line}" for line in found.broken]
    notes += [
        f"{name} was {old} and is {new} now: the run may go on with other rounding"
        for name, old in before["versions"].items()
        if (new := installed_version(name)) != old
    ]
    return Standing(True, False, found.newest, tuple(notes))


def remove_run(folder: Path) -> None:
    """Remove what a run has written, and nothing else."""
    for name in (runs.CHECKPOINTS, runs.MODEL, runs.SKIPPED, runs.TRACKERS, runs.PARTIAL):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        runs.CONFIG, runs.ENVIRONMENT, runs.METRICS, runs.SAMPLES, runs.AUDIT, runs.COST,
        runs.SCORES, runs.ANSWERS, runs.FAILED,
    ):  # fmt: skip
        (folder / name).unlink(missing_ok=True)


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """The trainer makes its folder before it looks at everything; leave none behind."""
    existed = folder.exists()
    try:
        yield
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be written: {error.strerror}") from None
    except ValueError as error:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        raise UserError(_named(str(error))) from error


def _named(message: str) -> str:
    """A refusal with the setting that it is about, where peft leaves that out."""
    for start, setting, way_out in (
        ("`r` should be", "lora.r", ""),
        ("Target modules", "lora.target_modules", " `all-linear` takes every linear layer."),
    ):
        if message.startswith(start):
            return f"{setting}: {message}{way_out}"
    return message


def save_model(trainer: Trainer, folder: Path) -> None:
    """Safetensors and tokenizer, whole or not at all; of ours with a card, and uploaded if the
    settings say so.

    Raises: UserError if the upload fails.
    """
    aside = folder.with_name(f".{folder.name}.part")
    if trainer.args.should_save:
        shutil.rmtree(aside, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    ours = trainer if isinstance(trainer, HubTrainer) else None
    if ours is None:
        trainer.save_model(str(aside))
    else:
        ours.write_model(str(aside))
    if trainer.args.should_save:
        (aside / "training_args.bin").unlink(missing_ok=True)
        (aside / CARD).unlink(missing_ok=True)
        if ours is not None:
            # In place of peft's, which knows nothing of the objective.
            runs.write_text(aside / CARD, card_of(ours, _name(ours, folder)))
        _save_stop_tokens(trainer, aside)
        runs.flush_all(aside)
        aside.rename(folder)
        runs.flush(folder.parent)
    trainer.accelerator.wait_for_everyone()
    if ours is not None and ours.args.push_to_hub and ours.is_world_process_zero():
        _push(ours, folder)


def _name(trainer: HubTrainer, folder: Path) -> str:
    """What a card calls the model of a run."""
    return str(trainer.args.hub_model_id or folder.absolute().parent.name).split("/")[-1]


def _push(trainer: HubTrainer, folder: Path) -> None:
    """Raise UserError if the model cannot be uploaded, which is whole here all the same."""
    try:
        trainer.push_folder(folder)
    except _UPLOAD_ERRORS as error:
        raise UserError(
            f"training.push_to_hub: {folder} is whole, but its upload failed: {first_line(error)}\n"
            f"`hf upload {trainer.hub_model_id} {folder}` uploads it"
        ) from error


def _save_stop_tokens(trainer: Trainer, folder: Path) -> None:
    """An adapter is saved without what ends its generation."""
    config = getattr(trainer.accelerator.unwrap_model(trainer.model), "generation_config", None)
    if config is not None and not (folder / "generation_config.json").exists():
        config.save_pretrained(str(folder))


class GrowingFiles:
    """Files that grow line by line while a run goes on; a run that goes on cuts them to where they
    were at its checkpoint, so that each step is there once."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def state(self) -> dict[str, Any]:
        """Their sizes."""
        return {path.name: path.stat().st_size for path in self.paths if path.exists()}

    def restore(self, state: dict[str, Any]) -> None:
        """Cut them to these sizes; what was not there then is removed."""
        for path in self.paths:
            if path.name not in state:
                path.unlink(missing_ok=True)
            elif path.exists():
                os.truncate(path, min(state[path.name], path.stat().st_size))


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that a run which goes on must share."""
    training = config.get("training")
    if isinstance(training, dict):
        training = {key: value for key, value in training.items() if key not in _MAY_CHANGE}
    return {**config, "training": training, "output_dir": None}
