"""The run file: one YAML document, with dotted overrides from the command line."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from otr.errors import UserError, suggestion


class Section(BaseModel):
    """A part of the run file: frozen, and no key is taken that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Data(Section):
    """Where the training rows come from, and which of their columns are what."""

    train: str
    """A .jsonl, .json, .parquet or .csv file, a folder of them, or a hub id."""

    validation: str | None = None
    """The same for the evaluation loss; none unless given."""

    split: str = "train"
    """The split to read from a hub id."""

    prompt: str | list[str] | None = None
    """Column of the prompt; several are joined by a blank line, empty ones left out."""

    completion: str | None = None
    """Column of the completion, the supervised part; the end token is added to it."""

    separator: str = "\n"
    """Text between prompt and completion."""

    messages: str | None = None
    """Column of a conversation, rendered with the model's chat template."""

    text: str | None = None
    """Column of plain text, all of it supervised."""

    tools: str = "tools"
    """Column of the tool definitions of a conversation, where the data has one."""

    supervise: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation are learned, where the data does not say."""

    overlong: Literal["error", "drop", "truncate"] = "error"
    """What to do with rows longer than `training.max_length` tokens."""

    limit: int | None = Field(default=None, ge=1)
    """Use only the first rows."""


class Samples(Section):
    """Generations of fixed prompts during training, shown and kept in samples.jsonl."""

    every_steps: int = Field(default=0, ge=0)
    """Steps between generations; 0 for none."""

    prompts: list[str] = []
    """Prompts as the model sees them; the first two of the data unless given."""

    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer, in tokens."""


class Run(Section):
    """One run: model, data, objective, training."""

    model: str
    """A hub id, a folder, or `demo` for the embedded base model."""

    data: Data
    """Training data."""

    objective: dict[str, Any] = {"name": "otr"}
    """`name`, and the options of that objective."""

    training: dict[str, Any] = {}
    """Any field of TRL's SFTConfig."""

    lora: dict[str, Any] | None = None
    """Any field of peft's LoraConfig; full fine-tuning unless given."""

    samples: Samples = Samples()
    """Generations during training."""

    output_dir: str
    """The run folder."""

    seed: int = Field(default=0, ge=0)
    """Seed of the data order, the adapters and the rollouts."""

    @field_validator("model", "output_dir")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return value
