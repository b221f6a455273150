"""Settings that are passed on, checked by building from them what a training would build."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler

from otr.errors import UserError, first_line

_AT_LEAST = {
    "learning_rate": 0,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "eval_accumulation_steps": 1,
    "warmup_steps": 0,
    "dataloader_num_workers": 0,
}
_MAY_BE_INFINITE = ("max_grad_norm",)
_NUM_STEPS = 100
"""Of the schedule that is built of settings without `max_steps`."""
_REFUSALS = (ValueError, TypeError, ZeroDivisionError, OverflowError)
"""What libraries raise for arguments that they do not take."""


def check_builds(arguments: TrainingArguments, section: str = "training") -> None:
    """Build optimizer, schedule and data loader as these settings say, of a single number.

    Raises: UserError that names the setting, or those that go into what cannot be built.
    """
    _check_numbers(arguments, section)

    def built(names: str, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except _REFUSALS as error:
            raise UserError(
                f"{section}: {first_line(error).rstrip('.')}; look at {names}"
            ) from None

    built("dataloader_num_workers and the other settings dataloader_…", lambda: _loader(arguments))
    # DeepSpeed's file may hold an optimizer and a schedule of its own.
    if arguments.deepspeed:
        return
    names = "optim, optim_args, learning_rate, adam_beta1, adam_beta2 and adam_epsilon"
    try:
        optimizer = built(names, lambda: _optimizer(arguments))
    except ImportError as error:
        raise UserError(f"{section}.optim: {str(error).strip()[:300]}") from None
    built("lr_scheduler_type, lr_scheduler_kwargs", lambda: _walk(arguments, optimizer))


def _check_numbers(arguments: TrainingArguments, section: str) -> None:
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name, None)
        if not isinstance(value, float) or math.isfinite(value):
            continue
        if math.isnan(value) or field.name not in _MAY_BE_INFINITE:
            raise UserError(f"{section}.{field.name}: must be a finite number, found {value}")
    for name, low in _AT_LEAST.items():
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise UserError(f"{section}.{name}: must be at least {low}, found {value}")
    # transformers would make one step of max_steps: 0, and none of no epochs.
    if arguments.max_steps != -1 and arguments.max_steps < 1:
        raise UserError(
            f"{section}.max_steps: must be at least 1, or -1 for whole epochs, found "
            f"{arguments.max_steps}"
        )
    if arguments.max_steps == -1 and arguments.num_train_epochs <= 0:
        raise UserError(
            f"{section}.num_train_epochs: must be above 0, found {arguments.num_train_epochs:g}"
        )


def _loader(arguments: TrainingArguments) -> Any:
    return torch.utils.data.DataLoader(
        [0],  # type: ignore[arg-type]
        num_workers=arguments.dataloader_num_workers,
        persistent_workers=arguments.dataloader_persistent_workers,
        prefetch_factor=arguments.dataloader_prefetch_factor,
        multiprocessing_context=getattr(arguments, "dataloader_multiprocessing_context", None),
    )


def _optimizer(arguments: TrainingArguments) -> torch.optim.Optimizer:
    """The optimizer for one number; another in place of one that asks for the model."""
    weight = torch.nn.Parameter(torch.zeros(1, device=arguments.device))
    instead = torch.optim.SGD([weight], lr=arguments.learning_rate)
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    except (ValueError, AttributeError) as error:
        if "model" in str(error) and "optim_target_modules" not in str(error):
            return instead
        raise
    # What is no class builds several optimizers, of the whole model.
    is_class = isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    if not is_class or {"params", "model", "optimizer_dict"} & options.keys():
        return instead
    return kind([weight], **options)


def _walk(arguments: TrainingArguments, optimizer: torch.optim.Optimizer) -> None:
    """Build the schedule and go through it, since some divide by what their settings say."""
    num_steps = arguments.max_steps if arguments.max_steps > 0 else _NUM_STEPS
    options: Any = arguments.lr_scheduler_kwargs
    schedule = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=arguments.get_warmup_steps(num_steps),
        num_training_steps=num_steps,
        scheduler_specific_kwargs=options,
    )
    for rate in getattr(schedule, "lr_lambdas", ()):
        for step in (0, num_steps // 2, num_steps):
            rate(step)
