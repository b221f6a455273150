"""A run file as what it takes to train: settings, tokens, model, trainer and callbacks."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig

from otr import runs
from otr.errors import UserError
from otr.lm_head import IGNORED
from otr.objectives import Objective, objective_from_options, options_of
from otr.pretrained import check_vocabulary
from otr.redaction import without_secrets
from otr.rows import read_rows
from otr.training.audit import Audit
from otr.training.budget import TimeBudget
from otr.training.config import Run, to_yaml
from otr.training.cost import Clock, StartClock, StopClock
from otr.training.early_stopping import check_column
from otr.training.environment import environment
from otr.training.lost_process import join_on_cpu
from otr.training.options import built
from otr.training.progress import Metrics, Progress, SampleGenerations
from otr.training.settings import run_model, run_tokenizer, sft_config, training_defaults
from otr.training.shared_tokens import Tokens, once_a_machine
from otr.training.tokens import TokenReport, tokenized_dataset
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


def loaded_model(prepared: Prepared) -> PreTrainedModel:
    """The run's model with its weights.

    Raises: UserError if it cannot be loaded, or does not know the data's tokens.
    """
    model = run_model(prepared.run, prepared.arguments)
    check_vocabulary(model, max(max(row) for row in prepared.train_dataset["input_ids"]))
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
        supervised = [label != IGNORED for label in row["labels"]]  # type: ignore[index]
        # Plain text is supervised from its first token on; its opening words are the prompt.
        prompts.append(row["input_ids"][: supervised.index(True) or 8])  # type: ignore[index]
    return prompts


def write_head(
    prepared: Prepared, found: Audit, folder: Path, objective: dict[str, Any] | None = None
) -> None:
    """Write what is known of a run before it trains: configuration, environment, audit."""
    run = resolved(prepared)
    if objective is not None:
        run = run.model_copy(update={"objective": objective})
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / runs.ENVIRONMENT, environment(sources_of(prepared.run)))
    runs.write_json(folder / runs.AUDIT, found.as_json())
    runs.write_text(folder / runs.CONFIG, to_yaml(run))


def resolved(prepared: Prepared) -> Run:
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


def sources_of(run: Run) -> list[str]:
    """Where a run's data come from."""
    return [run.data.train] + ([run.data.validation] if run.data.validation else [])
