"""What a run would do, without doing it."""

import math
from dataclasses import dataclass
from typing import Any

from otr.errors import UserError
from otr.training.audit import Audit, audit, audit_lines
from otr.training.budget import UNREACHED_STEPS
from otr.training.config import Run
from otr.training.estimate import StepEstimate, step_estimate
from otr.training.hindrances import hindrances
from otr.training.outlook import Outlook, outlook
from otr.training.prepared_run import build_trainer, loaded_model, prepare
from otr.training.trainer import OTRTrainer


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

    @property
    def problems(self) -> tuple[str, ...]:
        """What would be lost or refused; a line each."""
        return self.refused + self.audit.problems

    def lines(self, *, colour: bool = False) -> list[str]:
        """Everything that was found, as lines of text."""
        lines = audit_lines(self.audit, more_problems=self.refused, colour=colour)
        if self.budget is not None:
            lines += ["", self.budget]
        for part in (self.step, self.outlook):
            if part is not None:
                lines += part.lines()
        lines += [f"warning    {line}" for line in self.hindrances]
        number = len(self.problems)
        verdict = f"{number} problem{'s' * (number > 1)}" if number else "nothing would be lost"
        return [*lines, "", verdict]


def check(run: Run, folder: str, *, with_model: bool = True) -> Check:
    """Look at a run's data and, with its model loaded, at its steps, memory and labels.

    Overlong rows that training would refuse are set aside here, so that the rest can be seen.
    `folder` takes what the trainer writes while it is built.

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
    found = audit(prepared.train_dataset, report, prepared.tokenizer)
    if not with_model:
        return Check(audit=found, refused=refused)
    try:
        trainer = build_trainer(prepared, loaded_model(prepared), [])
    except ValueError as error:
        raise UserError(str(error)) from None
    lengths = [len(row) for row in prepared.train_dataset["input_ids"]]
    end_ids: Any = prepared.tokenizer.convert_tokens_to_ids(list(report.end_tokens))
    seen = outlook(trainer, end_ids)
    return Check(
        audit=found,
        refused=refused,
        budget=_budget(run, trainer),
        step=step_estimate(
            trainer.model,
            max(lengths),
            trainer.args,
            trainer.reference_model,
            mean_length=sum(lengths) / len(lengths),
            supervised_share=report.num_supervised / report.num_tokens,
        ),
        outlook=seen,
        hindrances=hindrances(trainer, report.end_tokens, seen.end_prob),
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
