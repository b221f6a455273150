"""From a run file to a run folder."""

import sys
from pathlib import Path

from otr import runs
from otr.errors import ProcessLost, UserError
from otr.objectives import Objective, in_words
from otr.signals import Stopped, noted_signals
from otr.terminal import tell, visible
from otr.training.agreement import agreed
from otr.training.audit import Audit, audit
from otr.training.budget import TimeBudget
from otr.training.checkpoints import latest
from otr.training.config import Run
from otr.training.cost import Clock, write_cost
from otr.training.early_stopping import EarlyStopping
from otr.training.environment import data_sha256
from otr.training.folder import (
    GrowingFiles,
    Standing,
    check_folder,
    remove_run,
    removed_if_refused,
    save_model,
    standing,
)
from otr.training.guard import StopOnSignal
from otr.training.hindrances import hindrances
from otr.training.lost_process import lost_process_words
from otr.training.memory import out_of_memory_words
from otr.training.prepared_run import (
    Prepared,
    build_trainer,
    loaded_model,
    prepare,
    resolved,
    run_callbacks,
    sources_of,
    write_head,
)
from otr.training.stop_tokens import stop_at
from otr.training.trackers import local_trackers
from otr.training.trainer import OTRTrainer


def train(run: Run, *, restart: bool = False, progress: bool = True) -> Path:
    """Train as the run file says, and return the run folder.

    A run that was stopped goes on from its newest whole checkpoint; one that is finished is left as
    it is; `restart` begins anew.

    Raises: UserError for whatever the user must change, before anything is written; Stopped after
    SIGINT or SIGTERM, with a checkpoint to go on from; FloatingPointError if too many steps in a
    row are not finite; ProcessLost if another process of the run is gone or cannot be reached.
    """
    trainers: list[OTRTrainer] = []
    try:
        return _train(run, restart, progress, trainers)
    except RuntimeError as error:
        words = lost_process_words(error, Path(run.output_dir), next(iter(trainers), None))
        if not words:
            raise
        raise ProcessLost(words) from error


def _train(run: Run, restart: bool, progress: bool, trainers: list[OTRTrainer]) -> Path:
    """Train, and leave the trainer in `trainers` for who must know how far it came."""
    folder = Path(run.output_dir)
    check_folder(folder)
    prepared = prepare(run)
    there = Standing(False, False)
    if not restart:
        there = standing(folder, resolved(prepared), data_sha256(sources_of(run)))
    there = agreed(there, folder, prepared.arguments)
    speaks = progress and prepared.arguments.process_index == 0
    if there.is_finished:
        if speaks:
            print(f"already trained: {folder}; --restart trains anew", file=sys.stderr)
        return folder
    model = loaded_model(prepared)
    stop_at(model, prepared.report.end_tokens, prepared.tokenizer)
    found = audit(prepared.train_dataset, prepared.report, prepared.tokenizer)
    if speaks:
        _announce(prepared, found, there)
    clock = Clock()
    budget = None if run.max_seconds is None else TimeBudget(clock, run.max_seconds)
    with noted_signals() as signalled, local_trackers(prepared.arguments.report_to or (), folder):
        stop = StopOnSignal(signalled)
        callbacks = run_callbacks(prepared, folder, clock, budget, progress)
        early = _early_stopping(run, progress)
        own = [stop] if early is None else [early, stop]
        with removed_if_refused(folder):
            trainer = build_trainer(prepared, model, [*callbacks[:-1], *own, callbacks[-1]])
        trainers.append(trainer)
        if speaks:
            for line in hindrances(trainer, prepared.report.end_tokens):
                print(f"warning: {line}", file=sys.stderr)
        trainer.guard.folder = folder / runs.SKIPPED
        trainer.stateful["clock"] = clock
        if budget is not None:
            trainer.progress_share = budget.share
            trainer.stateful["budget"] = budget
        if early is not None:
            trainer.stateful["early_stopping"] = early
        if trainer.is_world_process_zero():
            grown = GrowingFiles(folder / runs.METRICS, folder / runs.SAMPLES)
            trainer.stateful["files"] = grown
        if trainer.args.should_save and there.checkpoint is None:
            remove_run(folder)
            write_head(prepared, found, folder)
        trainer.accelerator.wait_for_everyone()
        environment = runs.read_as(folder / runs.ENVIRONMENT, runs.Environment)
        trainer.data_sha256, trainer.keeps_card = environment["data_sha256"], False
        try:
            trainer.train(None if there.checkpoint is None else str(there.checkpoint))
        except (MemoryError, RuntimeError) as error:
            longest = max(len(row) for row in prepared.train_dataset["input_ids"])
            step = trainer.state.global_step + 1
            words = out_of_memory_words(error, prepared.arguments, step, longest)
            if not words:
                raise
            raise UserError(words) from error
        if stop.stopped:
            raise Stopped(_stopped_words(folder))
        write_cost(folder, clock, trainer, trainer.head_timer.seconds)
        save_model(trainer, folder / runs.MODEL)
    return folder


def _early_stopping(run: Run, shown: bool) -> EarlyStopping | None:
    if run.early_stopping is None:
        return None
    return EarlyStopping(**run.early_stopping.model_dump(), shown=shown)


def _stopped_words(folder: Path) -> str:
    newest = latest(folder / runs.CHECKPOINTS)
    if newest is None:
        return f"stopped, and no checkpoint could be written: {folder} begins anew next time"
    return f"stopped; the same command goes on from {newest}"


def _loss_words(objective: Objective) -> list[str]:
    """What is worth knowing of an objective's loss before the first one is shown."""
    if not objective.may_be_below_zero:
        return []
    return [f"the loss of {objective.name} may be below 0, which is no error; watch nll instead"]


def _announce(prepared: Prepared, found: Audit, there: Standing) -> None:
    """Say what will be trained on, what the data lost on their way to tokens, and where a run that
    has begun goes on."""
    report = prepared.report
    lines = [
        f"{report.num_examples} examples, {report.num_supervised} of {report.num_tokens} tokens "
        f"learned; objective {in_words(prepared.objective)}",
        *_loss_words(prepared.objective),
        *(f"note: {line}" for line in found.notes),
        *(f"PROBLEM: {line}" for line in found.problems),
        *(f"note: {line}" for line in there.notes),
    ]
    if there.is_begun:
        from_where = there.checkpoint or "the beginning, since there is no checkpoint yet"
        lines.append(f"going on from {from_where}")
    # Notes may quote files of a run folder that was copied from elsewhere.
    tell(*(visible(line) for line in lines))
