"""A run file's settings as the libraries take them: TRL's SFTConfig and the tokenizer."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig

from otr import runs
from otr.errors import UserError
from otr.extras import install_words
from otr.pretrained import load_model, load_tokenizer
from otr.training.budget import UNREACHED_STEPS, check_budget
from otr.training.built_settings import check_builds
from otr.training.config import Run
from otr.training.early_stopping import check_metric, more_is_better
from otr.training.options import built
from otr.training.trackers import check_trackers

_DECIDED_BY_DATA = (
    "assistant_only_loss",
    "completion_only_loss",
    "dataset_text_field",
    "dataset_kwargs",
    "truncation_mode",
)


def sft_config(run: Run) -> SFTConfig:
    """The `training:` section as TRL's SFTConfig, over our defaults.

    Raises: UserError that names the setting that the user must change.
    """
    for option in _DECIDED_BY_DATA:
        if option in run.training:
            raise UserError(
                f"training.{option}: the `data:` section decides what is supervised and what "
                "happens to long rows; leave it out"
            )
    if run.training.get("resume_from_checkpoint"):
        raise UserError(
            "training.resume_from_checkpoint: a run resumes from the newest whole checkpoint of its own "
            "folder; leave it out, and give the command again"
        )
    _check_packages(run.training)
    if (metric := run.training.get("metric_for_best_model")) is not None:
        check_metric(str(metric), run.data.validation is not None)
    packs = run.training.get("packing") or run.training.get("eval_packing")
    arguments = built(
        SFTConfig,
        "training",
        {**training_defaults(run), **run.training, **_direction(run.training)},
        output_dir=str(Path(run.output_dir) / runs.CHECKPOINTS),
        seed=run.seed,
        loss_type="nll",
        disable_tqdm=True,
        # The rows are tokens that fit. TRL would look at each again, in one process while the others
        # wait for it in a collective; packing them is quick.
        dataset_kwargs=None if packs else {"skip_prepare_dataset": True},
    )
    num_started = int(os.environ.get("WORLD_SIZE", "1"))
    if num_started != arguments.world_size:
        raise UserError(
            f"training: {num_started} processes were started, but {arguments.world_size} work "
            "together, so each would write the same run; look at training.use_cpu and "
            "training.ddp_backend"
        )
    if arguments.push_to_hub and not arguments.hub_model_id:
        raise UserError(
            "training.push_to_hub: the repository would be called after a folder of the run, "
            f"{runs.CHECKPOINTS!r}; set training.hub_model_id, such as your-name/model"
        )
    check_trackers(arguments.report_to)
    if run.max_seconds is not None:
        check_budget(arguments)
    check_builds(arguments)
    return arguments


def _direction(training: dict[str, Any]) -> dict[str, Any]:
    """Which values of `metric_for_best_model` are better, for the choice of the best checkpoint and for
    schedules that follow the metric, where the file does not say.

    TrainingArguments takes more for better of every name that does not end with "loss", and the
    schedules take less for better.
    """
    metric = training.get("metric_for_best_model")
    if metric is None:
        return {}
    more = training.get("greater_is_better")
    found = {"greater_is_better": more_is_better(str(metric)) if more is None else more}
    if training.get("lr_scheduler_type") in ("reduce_lr_on_plateau", "greedy"):
        given = training.get("lr_scheduler_kwargs") or {}
        if isinstance(given, dict):
            mode = "max" if found["greater_is_better"] else "min"
            found["lr_scheduler_kwargs"] = {"mode": mode, **given}
    return found


def _check_packages(training: dict[str, Any]) -> None:
    """Raise UserError where a setting needs a package that is not installed; the libraries say so
    after the run's folder is written, or in words that are hard to follow."""
    for option, package, install in (
        ("deepspeed", "deepspeed", install_words("deepspeed")),
        ("use_liger_kernel", "liger_kernel", "pip install liger-kernel"),
    ):
        if training.get(option) and find_spec(package) is None:
            raise UserError(
                f"training.{option}: {package} is not installed; {install}, or leave it out"
            )


def training_defaults(run: Run) -> dict[str, Any]:
    """Where our defaults differ from TRL's: every step is logged, to the run folder alone, and
    16-bit arithmetic, recomputed activations and pinned memory are for accelerators."""
    accelerator = torch.cuda.is_available()
    defaults: dict[str, Any] = {} if run.max_seconds is None else {"max_steps": UNREACHED_STEPS}
    defaults |= {
        "report_to": "none",
        "logging_steps": 1,
        "save_total_limit": 2,
        "gradient_checkpointing": accelerator,
        "dataloader_pin_memory": accelerator,
        # Without it, processes on a machine without accelerators would not find each other.
        "use_cpu": not torch.accelerator.is_available(),
    }
    if not run.training.get("fp16"):
        defaults["bf16"] = accelerator and torch.cuda.is_bf16_supported()
    if run.data.validation is not None and "eval_strategy" not in run.training:
        defaults |= {"eval_strategy": "steps", "eval_steps": 0.2}
    return defaults


def run_tokenizer(run: Run, arguments: SFTConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer with the end token and chat template that the run gives it.

    Raises: UserError if it cannot be found, or lacks an end token.
    """
    options = model_options(arguments)
    tokenizer = load_tokenizer(
        run.model,
        trust_remote_code=arguments.trust_remote_code,
        **{name: options[name] for name in ("revision",) if name in options},
    )
    adapt_tokenizer(tokenizer, arguments.eos_token, arguments.chat_template_path)
    if tokenizer.eos_token is None:
        raise UserError(
            "the model's tokenizer has no end token, so the model would never learn to stop; "
            "set training.eos_token"
        )
    return tokenizer


def adapt_tokenizer(
    tokenizer: PreTrainedTokenizerBase, eos_token: str | None, chat_template_path: str | None
) -> None:
    """Give a tokenizer another end token, and the chat template of a file.

    Raises: UserError if it does not know the token, or there is no such file.
    """
    if eos_token is not None:
        if eos_token not in tokenizer.get_vocab():
            raise UserError(f"training.eos_token: {eos_token!r} is not in the model's vocabulary")
        tokenizer.eos_token = eos_token
    if chat_template_path is not None:
        template = Path(chat_template_path)
        if not template.is_file():
            raise UserError(
                f"training.chat_template_path: there is no file {str(template)!r}; give a Jinja "
                "template file"
            )
        tokenizer.chat_template = template.read_text(encoding="utf-8")


def run_model(run: Run, arguments: SFTConfig) -> PreTrainedModel:
    """The model that a run begins with.

    Raises: UserError if it cannot be found or read.
    """
    return load_model(
        run.model, trust_remote_code=arguments.trust_remote_code, **model_options(arguments)
    )


def model_options(arguments: SFTConfig) -> dict[str, Any]:
    """`training.model_init_kwargs`.

    Raises: UserError if it is no section.
    """
    options = arguments.model_init_kwargs or {}
    if not isinstance(options, dict):
        raise UserError(f"training.model_init_kwargs: must be a section, found {options!r}")
    return options
