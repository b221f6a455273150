"""TRL's SFTTrainer with uploads to the hub of what is whole, and a model card of what was trained."""

import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from transformers.trainer_utils import HubStrategy, SaveStrategy
from trl.trainer.sft_trainer import SFTTrainer

from otr import runs
from otr.errors import first_line
from otr.training.checkpoints import ASIDE, MANIFEST
from otr.training.model_card import card_of, is_written_by_us

CARD = "README.md"
PUSHED = ".push"
"""Where what is being uploaded stands, as links: what becomes of a checkpoint meanwhile is no matter."""

NOT_PUSHED = (
    "_*", "checkpoint-*", ".checkpoint-*", f"{ASIDE}/*", f"{PUSHED}/*", f"{runs.SKIPPED}/*",
    "training_args.bin",
)  # fmt: skip
"""What of an output folder stays here: checkpoints, batches that were left out, and a pickle of the
settings, secrets and all."""

_NOT_MADE: tuple[type[BaseException], ...] = HfHubHTTPError.__bases__
"""What the hub's client raises: OSError, and its HTTP library's, which differs by release."""

_OF_MODELS = (".safetensors", ".json", ".jinja", ".txt", ".model", ".py")
_NOT_OF_MODELS = ("trainer_state.json", MANIFEST, "otr_state_")
_WEIGHTS = ("pytorch_model.bin", "adapter_model.bin")


class HubTrainer(SFTTrainer):
    """Checkpoints are uploaded once they are whole, from links that nothing changes, one after
    another in a thread; an upload that failed is warned of, at the next one or at the end.

    `hub_strategy` says what: with `every_save` the model, its tokenizer, the card and what else lies
    in the output folder; with `checkpoint` and `all_checkpoints` also the whole checkpoint, to resume
    from. States of optimizers go with these two alone.
    """

    # TRL's are "trl" and "sft"; the card adds the objective's name.
    _tag_names = ["trl"]  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.data_sha256: dict[str, str] = {}
        """By name, the SHA-256 of files that the data come from, for the card."""
        self.keeps_card = True
        """Whether a card is kept in the output folder, renewed at every checkpoint."""
        self._push_is_due = False
        self._passed_over: Path | None = None
        self._uploads: list[tuple[str, Future[Any]]] = []
        self._removals: list[Future[Any]] = []
        self._hub = HfApi(library_name="otr")
        super().__init__(*args, **kwargs)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As `SFTTrainer.init_hf_repo`.

        Raises: ValueError if the hub does not make the repository or cannot be reached.
        """
        try:
            super().init_hf_repo(token=token, private=private)
        except _NOT_MADE as error:
            raise ValueError(
                f"push_to_hub: the repository {self.args.hub_model_id!r} cannot be made on the hub: "
                f"{first_line(error)}; `hf auth login` logs in, or leave push_to_hub out and upload "
                "the model later"
            ) from error

    def write_model(self, output_dir: str) -> None:
        """Write the whole model into a folder, and upload nothing."""
        super().save_model(output_dir, _internal_call=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the whole model, which `from_pretrained` loads, and upload it if the settings say so."""
        self.write_model(str(self.args.output_dir) if output_dir is None else output_dir)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `SFTTrainer.push_to_hub`, but for what `NOT_PUSHED` names.

        Returns: the commit, or without `blocking` its future; None but in the first process.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.write_model(str(self.args.output_dir))
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        return self.push_folder(
            Path(str(self.args.output_dir)), commit_message, blocking, token, revision
        )

    def push_folder(
        self,
        folder: Path,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
    ) -> Any:
        """Upload what is in a folder, after the uploads that are under way."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self._finish_current_push()
        upload: Any = self._hub.upload_folder
        return upload(
            repo_id=self.hub_model_id,
            folder_path=folder,
            commit_message=commit_message,
            token=token or self.args.hub_token,
            run_as_future=not blocking,
            ignore_patterns=list(NOT_PUSHED),
            revision=revision or self.args.hub_revision,
        )

    def create_model_card(
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | list[str] | None = None,
    ) -> None:
        """Write the card into the output folder, unless somebody else's is there."""
        path = Path(str(self.args.output_dir)) / CARD
        if self.keeps_card and self.is_world_process_zero() and is_written_by_us(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            runs.write_text(path, card_of(self, model_name, dataset_name, tags))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """The trainer calls this while a checkpoint is not whole yet: note it."""
        self._push_is_due = True

    def push_whole(self, checkpoint: Path) -> None:
        """Begin the upload of a checkpoint that is whole now, if one was asked for.

        As the trainer does it, one that comes while another is under way is passed over, unless
        `hub_always_push`; but the last one is uploaded at the end.
        """
        due, self._push_is_due = self._push_is_due, False
        at_end = self.args.hub_strategy == HubStrategy.END
        if not due or at_end or not self.is_world_process_zero():
            return
        self._warn_of_failures()
        self._passed_over = None
        if self._uploads and not self.args.hub_always_push:
            self._passed_over = checkpoint
        else:
            self._begin_upload(checkpoint)

    def _begin_upload(self, checkpoint: Path) -> None:
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        output_dir = Path(str(self.args.output_dir))
        here = output_dir / PUSHED / checkpoint.name
        message = f"Training in progress, {checkpoint.name.replace('checkpoint-', 'step ')}"
        if self.args.save_strategy == SaveStrategy.EPOCH:
            message = f"Training in progress, epoch {int(self.state.epoch or 0)}"
        jobs: list[tuple[str, str | None, str]] = [("model", None, message)]
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = self.args.hub_strategy == HubStrategy.CHECKPOINT
            place = "last-checkpoint" if last else checkpoint.name
            jobs.append(("checkpoint", place, f"{message}, checkpoint"))
        try:
            if not self._uploads:
                shutil.rmtree(here.parent, ignore_errors=True)
            _lay_out(output_dir, checkpoint, here, whole=len(jobs) > 1)
            if not (here / "model" / CARD).exists():
                runs.write_text(here / "model" / CARD, card_of(self))
        except OSError as error:
            warnings.warn(f"{checkpoint.name} is not uploaded: {error}", stacklevel=2)
            return
        upload: Any = self._hub.upload_folder
        for part, place, words in jobs:
            job = upload(
                repo_id=self.hub_model_id,
                folder_path=here / part,
                path_in_repo=place,
                commit_message=words,
                token=self.args.hub_token,
                # What an older checkpoint had and this one has not would make it a broken one.
                delete_patterns=None if place is None else "*",
                run_as_future=True,
                revision=self.args.hub_revision,
            )
            self._uploads.append((f"{checkpoint.name} ({part})", job))
        # The thread takes one thing after another.
        self._removals.append(self._hub.run_as_future(shutil.rmtree, here, ignore_errors=True))

    def _finish_current_push(self) -> None:
        """Wait for the uploads, and warn of those that failed."""
        for _, job in self._uploads:
            job.exception()
        self._warn_of_failures()
        missed, self._passed_over = self._passed_over, None
        if missed is not None and missed.is_dir():
            self._begin_upload(missed)
            self._finish_current_push()
        for removal in self._removals:
            removal.exception()
        if self._removals:
            shutil.rmtree(Path(str(self.args.output_dir)) / PUSHED, ignore_errors=True)
            self._removals.clear()

    def _warn_of_failures(self) -> None:
        done = [(what, job) for what, job in self._uploads if job.done()]
        self._uploads = [each for each in self._uploads if each not in done]
        for what, job in done:
            if (error := job.exception()) is not None:
                warnings.warn(
                    f"the upload of {what} to {self.hub_model_id} failed: "
                    f"{type(error).__name__}: {str(error)[:500]}",
                    stacklevel=2,
                )


def _lay_out(output_dir: Path, checkpoint: Path, here: Path, *, whole: bool) -> None:
    """Put what is to be uploaded into `here`, as links: `model`, and with `whole` also
    `checkpoint`."""
    model = here / "model"
    for path in _others(output_dir):
        _link(path, model / path.relative_to(output_dir))
    for path in sorted(each for each in checkpoint.rglob("*") if each.is_file()):
        name = path.relative_to(checkpoint)
        if _is_of_model(name):
            _link(path, model / name)
        if whole:
            _link(path, here / "checkpoint" / name)


def _others(output_dir: Path) -> Iterator[Path]:
    """What lies in the output folder that may be uploaded."""
    for top in sorted(output_dir.iterdir()):
        ours = any(top.match(pattern.removesuffix("/*")) for pattern in NOT_PUSHED)
        if ours or top.name in (".git", ".cache"):
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink():
                yield path


def _is_of_model(name: Path) -> bool:
    """Whether a checkpoint's file belongs to its model, tokenizer or adapter, rather than to the
    state of its training."""
    if len(name.parts) > 1 or name.name.startswith(_NOT_OF_MODELS):
        return False
    return name.suffix in _OF_MODELS or name.name in _WEIGHTS


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        # Not every file system knows links.
        shutil.copy2(path, target)
