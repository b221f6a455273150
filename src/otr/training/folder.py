"""Making, replacing and filling a run folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import Trainer

from otr import runs
from otr.errors import UserError


def check_folder(folder: Path, restart: bool) -> None:
    """Raise UserError unless a run can be put into the folder."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir: {folder} is a file; give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / runs.CONFIG).is_file():
        raise UserError(
            f"output_dir: {folder} holds files that are not a run's; give an empty or new folder"
        )
    if not restart:
        raise UserError(
            f"output_dir: {folder} already holds a run; give another folder, or --restart to "
            "replace it"
        )


def remove_run(folder: Path) -> None:
    """Remove what a run has written, and nothing else."""
    for name in (runs.CHECKPOINTS, runs.MODEL):
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
        raise UserError(str(error)) from error


def save_model(trainer: Trainer, folder: Path) -> None:
    """Safetensors and tokenizer, whole or not at all."""
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    trainer.save_model(str(aside))
    if trainer.is_world_process_zero():
        (aside / "training_args.bin").unlink(missing_ok=True)
        (aside / "README.md").unlink(missing_ok=True)
        aside.rename(folder)
