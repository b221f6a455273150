"""What a run would do, without doing it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from otr.errors import UserError
from otr.training.audit import Audit, audit, audit_lines
from otr.training.budget import UNREACHED_STEPS
from otr.training.config import Run
from otr.training.estimate import StepEstimate, step_estimate
from otr.training.hindrances import hindrances
from otr.training.look import (
    LOOK_SECONDS,
    Pieces,
    TimedPass,
    as_it_was,
    padded_length,
    timed_pass,
)
from otr.training.outlook import MOST_TOKENS, Outlook, outlook
from otr.training.prepared_run import build_trainer, loaded_model, prepare
from otr.training.trainer import OTRTrainer

_LABELS_SHARE = 1 / 2
"""Of the time in which the model is looked at; the rest is for a pass forward and backward."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """The audit of the data and, where the model was looked at, the rest."""

    audit: Audit
    refused: tuple[str, ...]
    """What `otr train` would refuse; a line each."""
    budget: str | None = None
    """How long it would train, in words."""
    step: StepEstimate | None = None
    outlook: Outlook | None = None
    hindrances: tuple[str, ...] = ()
    """What the model would not learn by its settings; a line each."""
    look_seconds: float = LOOK_SECONDS
    """How long the model may be looked at."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What would be lost or refused; a line each."""
        return self.refused + self.audit.problems

    def lines(self, *, colour: bool = False) -> list[str]:
        """Everything that was found, as lines of text."""
        return [*self.data_lines(colour=colour), *self.model_lines(), "", self.verdict]

    def data_lines(self, *, colour: bool = False) -> list[str]:
        """What was found in the data."""
        return audit_lines(self.audit, more_problems=self.refused, colour=colour)

    def model_lines(self) -> list[str]:
        """What was found of the model's steps, memory and labels; none if it was left alone."""
        lines = [] if self.budget is None else ["", self.budget]
        if self.step is not None:
            lines += self.step.lines()
        if self.outlook is not None:
            lines += self.outlook.lines()
            lines.append(
                f"           looked at for at most {self.look_seconds:g} s in all; --seconds changes it"
            )
        elif self.step is not None:
            lines.append("labels     not looked at, nor was a step timed: mend the problem first")
        return lines + [f"warning    {line}" for line in self.hindrances]

    @property
    def verdict(self) -> str:
        """What the data would lose, in a sentence."""
        if self.problems:
            return f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        report = self.audit.report
        lost = [
            f"{len(rows):,} of {report.num_rows:,} examples ({len(rows) / report.num_rows:.0%}) are "
            f"{fate}, as data.overlong says"
            for rows, fate in ((report.dropped, "dropped"), (report.cut, "cut"))
            if rows
        ]
        return f"{'; '.join(lost)}; nothing else would be lost" if lost else "nothing would be lost"


def check(
    run: Run,
    folder: str,
    *,
    with_model: bool = True,
    look_seconds: float = LOOK_SECONDS,
    on_data: Callable[[Check], None] = lambda found: None,
    progress: Callable[[int, int], None] = lambda num_tokens, num_all: None,
) -> Check:
    """Look at a run's data and, with its model loaded, at its steps, memory and labels.

    Overlong rows that training would refuse are set aside here, so that the rest can be seen.
    `folder` takes what the trainer writes while it is built. `on_data` is told what was found in the
    data before the model is loaded; `progress` how many labels have been looked at. A model is looked
    at for about `look_seconds`, and not at all if the data have a problem.

    Raises: UserError for whatever keeps the data from being read at all.
    """
    is_strict = run.data.overlong == "error"
    data = run.data.model_copy(update={"overlong": "drop"}) if is_strict else run.data
    prepared = prepare(run.model_copy(update={"data": data, "output_dir": folder}))
    report = prepared.report
    # What one process does on one GPU is looked at, however many there are here.
    prepared.arguments._n_gpu = min(prepared.arguments.n_gpu, 1)
    refused = ()
    if is_strict and report.overlong:
        refused = (
            f"{len(report.overlong)} examples are longer than "
            f"training.max_length={report.max_length}, the longest has {max(report.lengths)} "
            f"tokens (first: {report.overlong[0]}); raise it, or set data.overlong to drop or "
            "truncate",
        )
        # Nothing was asked to be dropped.
        report = replace(report, dropped=())
    found = Check(
        audit=audit(prepared.train_dataset, report, prepared.tokenizer),
        refused=refused,
        look_seconds=look_seconds,
    )
    on_data(found)
    if not with_model:
        return found
    try:
        trainer = build_trainer(prepared, loaded_model(prepared), [])
    except ValueError as error:
        raise UserError(str(error)) from None
    end_ids: Any = prepared.tokenizer.convert_tokens_to_ids(list(report.end_tokens))
    seen, timed = None, None
    if not found.problems:
        num_labels = min(MOST_TOKENS, report.num_supervised)
        progress(0, num_labels)
        with as_it_was(trainer):
            pieces = Pieces(trainer, _LABELS_SHARE * look_seconds)
            seen = outlook(
                trainer, end_ids, pieces=pieces, progress=lambda n: progress(n, num_labels)
            )
            left = (1 - _LABELS_SHARE) * look_seconds
            timed = timed_pass(trainer, pieces.seconds_per_token, left)
    return replace(
        found,
        budget=_budget(run, trainer),
        step=_step(trainer, report.num_supervised / report.num_tokens, timed),
        outlook=seen,
        hindrances=hindrances(trainer, report.end_tokens, None if seen is None else seen.end_prob),
    )


def _step(trainer: OTRTrainer, supervised_share: float, timed: TimedPass | None) -> StepEstimate:
    """What a step takes, of the rows as they are batched: packed, or padded to the longest."""
    lengths = [len(row) for row in trainer.train_dataset["input_ids"]]  # type: ignore[index]
    mean = sum(lengths) / len(lengths)
    padded = mean
    if not trainer.padding_free:
        padded = padded_length(lengths, trainer.args.per_device_train_batch_size)
    return step_estimate(
        trainer.model,
        max(lengths),
        trainer.args,
        trainer.reference_model,
        mean_length=padded,
        supervised_share=supervised_share * mean / padded,
        timed=timed,
    )


def _budget(run: Run, trainer: OTRTrainer) -> str:
    arguments = trainer.args
    per_epoch = len(trainer.get_train_dataloader()) / arguments.gradient_accumulation_steps
    num_steps = arguments.max_steps
    if num_steps <= 0:
        num_steps = math.ceil(arguments.num_train_epochs * max(math.ceil(per_epoch), 1))
    steps = f"{num_steps} ({num_steps / per_epoch:.2f} epochs)"
    if run.max_seconds is None:
        return f"steps      {steps}"
    most = "" if num_steps == UNREACHED_STEPS else f", {steps} at most"
    return f"steps      as many as fit into {run.max_seconds:g} seconds{most}; {per_epoch:.4g} an epoch"
