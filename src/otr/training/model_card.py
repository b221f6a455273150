"""The card of a trained model: objective, settings, data and what was measured."""

import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from otr.objectives import in_words, options_of
from otr.training.environment import installed_version

_MARK = "<!-- Written by otr at every checkpoint; without this line the card is left as it is. -->"
_PACKAGES = ("otr", "trl", "transformers", "torch", "peft")
_SETTINGS = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "optim", "max_grad_norm",
    "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "max_length", "packing", "assistant_only_loss", "completion_only_loss", "bf16", "fp16",
    "neftune_noise_alpha", "seed",
)  # fmt: skip
_TIMES = ("runtime", "samples_per_second", "steps_per_second")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

_CARD = """\
---
{metadata}
---

{mark}

# {name}

{base}: fine-tuned with {objective} by `otr` {version}, over {step} steps.

## Objective

```yaml
{options}
normalization: {normalization}
```

## Data

{data}

## Measured

{measured}

## Settings

| setting | value |
|---|---|
{settings}

Versions: {versions}
"""


def is_written_by_us(path: Path) -> bool:
    """Whether a card may be written here: there is none, or one that was written before."""
    return not path.exists() or _MARK in path.read_text(encoding="utf-8", errors="replace")


def card_of(
    trainer: Any,
    name: str | None = None,
    dataset_name: str | None = None,
    tags: str | list[str] | None = None,
) -> str:
    """The card of the model that a trainer holds, with its metadata for the hub."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapted = hasattr(model, "peft_config")
    base = _base_of(model)
    on_hub = bool(_HUB_ID.fullmatch(base)) and not os.path.isdir(base)
    given = [tags] if isinstance(tags, str) else list(tags or ())
    known = [*given, *(getattr(model, "model_tags", None) or ()), "otr", trainer.objective.name]
    metadata = ModelCardData(
        base_model=base if on_hub else None,
        library_name="peft" if adapted else "transformers",
        datasets=dataset_name,
        tags=list(dict.fromkeys(known)),
        ignore_metadata_errors=True,
    )
    words = f"[{base}](https://huggingface.co/{base})" if on_hub else _plain_base(base)
    return _CARD.format(
        metadata=metadata.to_yaml(),
        mark=_MARK,
        name=name or _name_of(trainer.args),
        base=f"An adapter on {words}" if adapted else words[:1].upper() + words[1:],
        objective=f"`{in_words(trainer.objective)}`",
        version=installed_version("otr"),
        step=trainer.state.global_step,
        options="\n".join(
            f"{key}: {json.dumps(value)}" for key, value in options_of(trainer.objective).items()
        ),
        normalization=trainer.normalization,
        data=_data(trainer, dataset_name),
        measured=_measured(trainer.state.log_history),
        settings="\n".join(_settings(trainer)),
        versions=", ".join(
            f"{package} {found}" for package in _PACKAGES if (found := installed_version(package))
        ),
    )


def _name_of(args: Any) -> str:
    if args.hub_model_id:
        return str(args.hub_model_id).split("/")[-1]
    return Path(str(args.output_dir)).absolute().name


def _base_of(model: Any) -> str:
    """What the model, or the base of its adapter, was loaded from; empty if from nowhere."""
    if hasattr(model, "peft_config"):
        model = model.get_base_model()
    return str(getattr(model.config, "_name_or_path", None) or "")


def _plain_base(base: str) -> str:
    return f"`{Path(base).name}`" if base else "a model with weights of its own"


def _data(trainer: Any, dataset_name: str | None) -> str:
    lines = [f"- `{dataset_name}`"] if dataset_name else []
    lines += [
        f"- `{Path(path).name}`, SHA-256 `{sha}`" for path, sha in trainer.data_sha256.items()
    ]
    try:
        lines.append(f"- {len(trainer.train_dataset):,} examples after preparation")
    except TypeError:
        lines.append("- a stream of examples")
    return "\n".join(lines)


def _measured(log_history: list[dict[str, Any]]) -> str:
    """The figures of the last evaluation, or else of the last step that was logged."""
    for words, prefix, key in (
        ("The last evaluation during training", "eval_", "_loss"),
        ("No evaluation was made; over the last logged steps of training", "", "loss"),
    ):
        rows = [
            row
            for row in log_history
            if any(name.startswith(prefix) and name.endswith(key) for name in row)
        ]
        if rows:
            figures = [
                f"| {name.removeprefix(prefix)} | {value:.6g} |"
                for name, value in rows[-1].items()
                if name.startswith(prefix)
                and isinstance(value, int | float)
                and name not in ("step", "epoch")
                and not name.endswith(_TIMES)
            ]
            head = f"{words}, step {rows[-1]['step']}:\n\n| figure | value |\n|---|---|\n"
            return head + "\n".join(figures)
    return "Nothing yet."


def _settings(trainer: Any) -> list[str]:
    args = trainer.args
    found = {name: getattr(args, name, None) for name in _SETTINGS}
    # One of them says how long the training was.
    found["num_train_epochs" if args.max_steps > 0 else "max_steps"] = None
    found["processes"] = args.world_size
    model = trainer.accelerator.unwrap_model(trainer.model)
    for each in getattr(model, "peft_config", {}).values():
        found["adapter"] = str(getattr(each.peft_type, "value", each.peft_type))
        for name in ("r", "lora_alpha", "num_virtual_tokens"):
            if hasattr(each, name):
                found[name] = getattr(each, name)
    return [
        f"| {name} | {getattr(value, 'value', value)} |"
        for name, value in found.items()
        if value is not None
    ]
