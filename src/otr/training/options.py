"""Options passed through to another library's config class, checked here first."""

import dataclasses
import typing
import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from otr.errors import UserError, problem_words, suggestion

ELSEWHERE = {
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "micro_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "grad_accumulation_steps": "gradient_accumulation_steps",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "steps": "max_steps",
    "num_steps": "max_steps",
    "lr": "learning_rate",
    "scheduler": "lr_scheduler_type",
    "lr_scheduler": "lr_scheduler_type",
    "warmup": "warmup_steps",
    "optimizer": "optim",
    "attn_implementation": "model_init_kwargs.attn_implementation",
    "dtype": "model_init_kwargs.dtype",
    "torch_dtype": "model_init_kwargs.dtype",
    "max_seq_length": "max_length",
    "seq_length": "max_length",
    "context_length": "max_length",
    "sequence_len": "max_length",
}
"""What other trainers and older releases call a field of SFTConfig."""

USUAL = frozenset(ELSEWHERE.values()) | {
    "bf16", "eval_steps", "eval_strategy", "fp16", "gradient_checkpointing", "logging_steps",
    "max_grad_norm", "packing", "report_to", "save_steps", "warmup_ratio", "weight_decay",
}  # fmt: skip
"""Fields of SFTConfig that many runs set, known without loading it."""

_WIDER: dict[str, Any] = {"fsdp": bool | str | list[str] | None}
"""What fields take that their annotation does not say."""


def built(kind: type, section: str, options: Mapping[str, Any], **fixed: Any) -> Any:
    """An instance of a dataclass from a section's options and some fixed ones.

    Raises: UserError that names the option: unknown, of the wrong type, or refused by `kind`.
    """
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(kind)
    values = {}
    for option, value in options.items():
        if option in fixed:
            raise UserError(
                f"{section}.{option}: set by otr itself ({_reason(option)}); leave it out"
            )
        if option not in fields:
            meant = ELSEWHERE.get(option, "")
            is_there = meant.partition(".")[0] in fields
            found = f"; did you mean {meant!r}?" if is_there else suggestion(option, fields)
            raise UserError(f"{section}.{option}: {kind.__name__} has no such field{found}")
        hint = _WIDER.get(option, hints[option])
        values[option] = _converted(f"{section}.{option}", value, hint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return kind(**values, **fixed)
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"{section}: {str(error).strip()[:500]}") from error


def _converted(name: str, value: Any, hint: Any) -> Any:
    """The value as the field's type; where that type cannot be checked, as it is."""
    try:
        adapter = TypeAdapter(hint)
    except (PydanticUserError, TypeError, NameError):
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        words = problem_words(error.errors()[0])
        raise UserError(f"{name}: {words}, found {value!r}") from None


def _reason(option: str) -> str:
    return {
        "output_dir": "give `output_dir:` at the top of the file",
        "seed": "give `seed:` at the top of the file",
        "loss_type": "give `objective:`",
    }.get(option, "it has no other value here")
