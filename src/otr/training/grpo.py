"""GRPO as a baseline: TRL's own trainer, on the same data, rewarded by a verifier.

Where the objectives of `otr.objectives` learn from the demonstrations' words, GRPO generates answers
and learns from whether they are right; of the demonstrations it sees the prompts and the answers
that the verifier compares with.
Source: Shao et al., DeepSeekMath, arXiv:2402.03300; TRL's `GRPOTrainer`.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from otr import runs
from otr.errors import UserError
from otr.lm_head import IGNORED
from otr.terminal import tell
from otr.training.audit import audit
from otr.training.budget import TimeBudget
from otr.training.built_settings import check_builds
from otr.training.config import Run
from otr.training.cost import Clock, write_cost
from otr.training.folder import check_folder, remove_run, removed_if_refused, save_model
from otr.training.generation_settings import made_savable
from otr.training.options import built
from otr.training.prepared_run import (
    Prepared,
    loaded_model,
    prepare,
    run_callbacks,
    write_head,
)
from otr.training.settings import training_defaults

NAME = "grpo"

Verifier = Callable[[str, str], bool]
"""Whether an output (first) gives the answer of a reference (second).

Raises: UserError if the reference holds no answer.
"""

_NOT_OF_TRL = ("name", "reward", "max_seconds")
_OF_DEMONSTRATIONS = (
    "eval_delay", "eval_on_start", "eval_steps", "eval_strategy", "load_best_model_at_end",
    "metric_for_best_model", "greater_is_better",
)  # fmt: skip
"""Settings of a run that ask for the loss on held-out demonstrations, which GRPO has none of."""


@dataclass(frozen=True)
class PreparedGRPO:
    """A run whose settings and data have been read and found good; nothing is written yet."""

    prepared: Prepared
    """The run as supervised fine-tuning would have it."""

    arguments: GRPOConfig
    """Of `objective:` and `training:`."""

    dataset: Dataset
    """`prompt` and `reference`, texts."""


def prepare_grpo(run: Run, verifier: Verifier) -> PreparedGRPO:
    """Check every setting, and read the data.

    The objective's options are GRPOConfig's fields, but for `reward` and `max_seconds`; of
    `training:` those are used that GRPOConfig has too, where the options do not say otherwise.
    Answers may be as long as the longest demonstration unless `max_completion_length` is given.

    Raises: UserError for whatever the user must change, also where a demonstration holds no answer
    to compare with.
    """
    prepared = prepare(run.model_copy(update={"objective": {"name": "sft"}}))
    questions, longest = _questions(prepared.train_dataset, prepared.tokenizer)
    for question in questions:
        verifier("", question["reference"])
    known = {field.name for field in dataclasses.fields(GRPOConfig)} - set(_OF_DEMONSTRATIONS)
    shared = {**training_defaults(run), **run.training}
    arguments = built(
        GRPOConfig,
        f"objective {NAME}",
        {
            "max_completion_length": longest,
            **{name: value for name, value in shared.items() if name in known},
            **{name: run.objective[name] for name in run.objective if name not in _NOT_OF_TRL},
        },
        output_dir=str(Path(run.output_dir) / runs.CHECKPOINTS),
        seed=run.seed,
        disable_tqdm=True,
    )
    check_builds(arguments, f"objective {NAME}")
    # The filter would log a loss that is not a number as 0; `_Finite` ends the run instead.
    arguments.logging_nan_inf_filter = False
    return PreparedGRPO(prepared, arguments, Dataset.from_list(questions))


def train_grpo(
    run: Run, verifier: Verifier, *, restart: bool = False, progress: bool = True
) -> Path:
    """Train a model by GRPO on a run's data, and return the run folder; as `pipeline.train`.

    An answer's reward is 1 if the verifier takes it for right, else 0.

    Raises: UserError for whatever the user must change, before anything is written;
    FloatingPointError if loss or gradient stops being finite.
    """
    folder = Path(run.output_dir)
    check_folder(folder)
    if (folder / runs.CONFIG).is_file() and not restart:
        raise UserError(
            f"output_dir: {folder} already holds a run; give another folder, or --restart to "
            "replace it"
        )
    ready = prepare_grpo(run, verifier)
    prepared = ready.prepared
    model = loaded_model(prepared)
    if left_out := made_savable(model):
        tell(f"warning: {left_out}")
    clock = Clock()
    budget = None if run.max_seconds is None else TimeBudget(clock, run.max_seconds)

    def verified(completions: list[str], reference: list[str], **_: Any) -> list[float | None]:
        pairs = zip(completions, reference, strict=True)
        return [float(verifier(output, wanted)) for output, wanted in pairs]

    with removed_if_refused(folder):
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=verified,
            args=ready.arguments,
            train_dataset=ready.dataset,
            processing_class=prepared.tokenizer,
            peft_config=prepared.lora,
            callbacks=[*run_callbacks(prepared, folder, clock, budget, progress), _Finite()],
        )
        trainer.remove_callback(PrinterCallback)
    if restart:
        remove_run(folder)
    found = audit(prepared.train_dataset, prepared.report, prepared.tokenizer)
    write_head(prepared, found, folder, objective=run.objective)
    trainer.train()
    write_cost(folder, clock, trainer, head_seconds=None)
    save_model(trainer, folder / runs.MODEL)
    return folder


class _Finite(TrainerCallback):
    """Ends a run whose loss or gradient is not finite: such a model is not kept."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        for name in ("loss", "grad_norm"):
            if name in (logs or {}) and not math.isfinite(logs[name]):
                raise FloatingPointError(
                    f"the {name} of step {state.global_step} is {logs[name]}; no model is kept. "
                    "Lower the learning rate"
                )


def _questions(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[dict[str, str]], int]:
    """What comes before each row's last learned part, and that part, as texts; and the length of
    the longest such part in tokens.

    Raises: UserError where a row has no prompt, or its text stands for other tokens.
    """
    questions, longest = [], 0
    for number, row in enumerate(dataset):
        ids, labels = row["input_ids"], row["labels"]  # type: ignore[index]
        end = len(labels) - next(i for i, label in enumerate(reversed(labels)) if label != IGNORED)
        start = next((i + 1 for i in range(end - 1, -1, -1) if labels[i] == IGNORED), 0)
        if start == 0:
            raise UserError(
                f"data: example {number} is learned from its first word on, so {NAME} has no "
                "prompt to answer; name a prompt and a completion, or messages"
            )
        questions.append(
            {
                "prompt": _prompt_text(ids[:start], tokenizer, number),
                "reference": tokenizer.decode(ids[start:end], skip_special_tokens=True),
            }
        )
        longest = max(longest, end - start)
    return questions, longest


def _prompt_text(ids: list[int], tokenizer: PreTrainedTokenizerBase, number: int) -> str:
    """The text that TRL's trainer turns into these tokens again; it may put a begin token first."""
    begin = [tokenizer.bos_token_id] if ids[0] == tokenizer.bos_token_id else []
    for kept in (ids, ids[len(begin) :]):
        text = str(tokenizer.decode(kept))
        if tokenizer(text)["input_ids"] == ids:
            return text
    raise UserError(
        f"data: the prompt of example {number} is read back as other tokens than it is made of, so "
        f"{NAME} would train on another prompt; leave {NAME} out"
    )
