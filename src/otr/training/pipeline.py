"""From a run file to a run folder."""

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig

from otr import runs
from otr.errors import ProcessLost, UserError
from otr.objectives import Objective, in_words, objective_from_options, options_of
from otr.pretrained import load_model
from otr.redaction import without_secrets
from otr.rows import read_rows
from otr.signals import Stopped, noted_signals
from otr.terminal import visible
from otr.training.agreement import agreed
from otr.training.audit import Audit, audit
from otr.training.budget import TimeBudget
from otr.training.checkpoints import latest
from otr.training.config import Run, to_yaml
from otr.training.cost import Clock, StartClock, StopClock, write_cost
from otr.training.early_stopping import EarlyStopping, check_column
from otr.training.environment import data_sha256, environment
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
from otr.training.lost_process import join_on_cpu, lost_process_words
from otr.training.memory import out_of_memory_words
from otr.training.options import built
from otr.training.progress import Metrics, Progress, SampleGenerations
from otr.training.settings import model_options, run_tokenizer, sft_config, training_defaults
from otr.training.shared_tokens import Tokens, once_a_machine
from otr.training.stop_tokens import stop_at
from otr.training.tokens import TokenReport, tokenized_dataset
from otr.training.trackers import local_trackers
from otr.training.trainer import OTRTrainer


@dataclass(frozen=True)
class Prepared:
    """A run whose settings and data have been read and found good; nothing is written yet."""

    run: Run
    objective: Objective
    arguments: SFTConfig
    lora: LoraConfig | None
    tokenizer: PreTrainedTokenizerBase
    train_dataset: Dataset
    validation_dataset: Dataset | None
    report: TokenReport


def prepare(run: Run) -> Prepared:
    """Check every setting, and read and tokenize the data.

    Raises: UserError for whatever the user must change.
    """
    try:
        objective = objective_from_options(run.objective)
    except ValueError as error:
        raise UserError(str(error)) from None
    if run.early_stopping is not None:
        check_column(run.early_stopping.column, run.data.validation is not None)
    join_on_cpu({**training_defaults(run), **run.training})
    arguments = sft_config(run)
    lora = None
    if run.lora is not None:
        lora = built(LoraConfig, "lora", run.lora, task_type="CAUSAL_LM")
    tokenizer = run_tokenizer(run, arguments)
    tokens = once_a_machine(
        lambda: _tokens(run, tokenizer, arguments.max_length), run.model_dump_json()
    )
    return Prepared(
        run, objective, arguments, lora, tokenizer, tokens.train, tokens.validation, tokens.report
    )


def _tokens(run: Run, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Tokens:
    rows = read_rows(run.data.train, limit=run.data.limit, **run.data.place)
    train, report = tokenized_dataset(rows, run.data, tokenizer, max_length)
    validation = None
    if run.data.validation is not None:
        rows = read_rows(run.data.validation, **run.data.place)
        validation, _ = tokenized_dataset(rows, run.data, tokenizer, max_length)
    return Tokens(train, validation, report)


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
        there = standing(folder, _resolved(prepared), data_sha256(_sources(run)))
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


def _announce(prepared: Prepared, found: Audit, there: Standing) -> None:
    """Say what will be trained on, what the data lost on their way to tokens, and where a run that
    has begun goes on."""
    report = prepared.report
    lines = [
        f"{report.num_examples} examples, {report.num_supervised} of {report.num_tokens} tokens "
        f"learned; objective {in_words(prepared.objective)}",
        *(f"note: {line}" for line in found.notes),
        *(f"PROBLEM: {line}" for line in found.problems),
        *(f"note: {line}" for line in there.notes),
    ]
    if there.is_begun:
        from_where = there.checkpoint or "the beginning, since there is no checkpoint yet"
        lines.append(f"going on from {from_where}")
    # Notes may quote files of a run folder that was copied from elsewhere.
    print("\n".join(visible(line) for line in lines), file=sys.stderr)


def loaded_model(prepared: Prepared) -> PreTrainedModel:
    """The run's model with its weights.

    Raises: UserError if it cannot be loaded, or does not know the data's tokens.
    """
    model = load_model(
        prepared.run.model,
        trust_remote_code=prepared.arguments.trust_remote_code,
        **model_options(prepared.arguments),
    )
    largest = max(max(row) for row in prepared.train_dataset["input_ids"])
    num_rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    if largest >= num_rows:
        raise UserError(
            f"model: its tokenizer makes token {largest}, but the model knows only {num_rows}; "
            "tokenizer and weights do not belong together"
        )
    return model


def build_trainer(
    prepared: Prepared, model: PreTrainedModel, callbacks: list[TrainerCallback]
) -> OTRTrainer:
    """The trainer of a prepared run.

    Raises: ValueError where the model and the settings cannot work together.
    """
    reference_model = None
    if prepared.objective.anchor is not None and prepared.lora is None:
        reference_model = loaded_model(prepared)
    # The model is there; trackers write down what it was loaded with.
    arguments = copy.copy(prepared.arguments)
    arguments.model_init_kwargs = without_secrets(arguments.model_init_kwargs)
    trainer = OTRTrainer(
        model=model,
        reference_model=reference_model,
        args=arguments,
        objective=prepared.objective,
        normalization=prepared.run.loss.normalization,
        compaction=prepared.run.compaction,
        max_skipped_steps=prepared.run.max_skipped_steps,
        train_dataset=prepared.train_dataset,
        eval_dataset=prepared.validation_dataset,
        processing_class=prepared.tokenizer,
        peft_config=prepared.lora,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def run_callbacks(
    prepared: Prepared, folder: Path, clock: Clock, budget: TimeBudget | None, progress: bool
) -> list[TrainerCallback]:
    """What a run writes and shows, between the callbacks that stop and start its clock."""
    samples = prepared.run.samples
    callbacks: list[TrainerCallback] = [StopClock(clock), Metrics(folder / runs.METRICS, clock)]
    if budget is not None:
        callbacks.append(budget)
    if samples.every_steps:
        callbacks.append(
            SampleGenerations(
                _sample_prompts(prepared),
                prepared.tokenizer,
                samples.every_steps,
                samples.max_new_tokens,
                folder / runs.SAMPLES,
                shown=progress,
            )
        )
    if progress:
        callbacks.append(Progress(budget))
    return [*callbacks, StartClock(clock)]


def _sample_prompts(prepared: Prepared) -> list[list[int]]:
    """The prompts that the file names; else those of the first two examples."""
    if prepared.run.samples.prompts:
        return [prepared.tokenizer(prompt)["input_ids"] for prompt in prepared.run.samples.prompts]
    dataset = prepared.validation_dataset or prepared.train_dataset
    prompts = []
    for row in dataset.select(range(min(2, len(dataset)))):
        supervised = [label != -100 for label in row["labels"]]  # type: ignore[index]
        # Plain text is supervised from its first token on; its opening words are the prompt.
        prompts.append(row["input_ids"][: supervised.index(True) or 8])  # type: ignore[index]
    return prompts


def write_head(
    prepared: Prepared, found: Audit, folder: Path, objective: dict[str, Any] | None = None
) -> None:
    """Write what is known of a run before it trains: configuration, environment, audit."""
    resolved = _resolved(prepared)
    if objective is not None:
        resolved = resolved.model_copy(update={"objective": objective})
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / runs.ENVIRONMENT, environment(_sources(prepared.run)))
    runs.write_json(folder / runs.AUDIT, found.as_json())
    runs.write_text(folder / runs.CONFIG, to_yaml(resolved))


def _resolved(prepared: Prepared) -> Run:
    """The run with every default spelled out."""
    run = prepared.run
    return run.model_copy(
        update={
            "objective": options_of(prepared.objective),
            "training": {
                **training_defaults(run),
                "learning_rate": prepared.arguments.learning_rate,
                **run.training,
            },
        }
    )


def _sources(run: Run) -> list[str]:
    return [run.data.train] + ([run.data.validation] if run.data.validation else [])
