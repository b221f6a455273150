"""Chosen rows of the data, as training makes examples of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig

from otr.errors import UserError
from otr.rows import Row, read_rows
from otr.training.columns import columns
from otr.training.config import Data, Run
from otr.training.tokens import NothingLeft, tokenized_dataset


@dataclass(frozen=True, kw_only=True)
class ChosenExample:
    """One example of T tokens, as training makes it of a row."""

    row: int
    """0-based."""
    source: str
    """File and line."""
    input_ids_T: Tensor
    labels_T: Tensor
    """The token where it is learned, -100 elsewhere."""
    notes: tuple[str, ...] = ()


def chosen_examples(
    data: Data,
    rows: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    *,
    usable_only: bool = False,
) -> list[ChosenExample]:
    """The examples that training makes of some rows, counted from 0.

    Raises: UserError if a row is out of range, cannot be read, or has nothing to learn; with
    `usable_only` such rows are left out.
    """
    found = read_rows(data.train, limit=data.limit, **data.place)
    # A row alone must be recognised as the whole data is.
    present = dict.fromkeys(name for row in found for name in row.values)
    columns(found, data)
    examples = []
    for number in rows:
        try:
            if not 0 <= number < len(found):
                raise UserError(
                    f"row {number}: rows are counted from 0, and the data has {len(found)}: give 0 "
                    f"to {len(found) - 1}"
                )
            row = Row({**present, **found[number].values}, found[number].origin)
            examples += _examples_of(row, number, data, tokenizer, max_length)
        except UserError:
            if not usable_only:
                raise
    return examples


def _examples_of(
    row: Row,
    number: int,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
) -> list[ChosenExample]:
    try:
        dataset, report = tokenized_dataset([row], data, tokenizer, max_length)
    except NothingLeft:
        raise UserError(
            f"row {number} ({row.origin}): nothing in it would be learned; "
            "training leaves it out. Choose another row"
            + (f", or raise training.max_length={max_length}" if max_length else "")
        ) from None
    notes = []
    if report.cut:
        notes.append(f"cut to training.max_length={max_length}, as in training")
    if len(dataset) > 1:
        notes.append(f"training makes {len(dataset)} examples of this row")
    return [
        ChosenExample(
            row=number,
            source=_short_origin(row.origin, data.train),
            input_ids_T=torch.tensor(example["input_ids"]),
            labels_T=torch.tensor(example["labels"]),
            notes=tuple(notes),
        )
        for example in dataset.to_list()
    ]


def _short_origin(origin: str, train: str) -> str:
    """Where a row comes from, without the folders that lead there."""
    path = Path(train).expanduser()
    return origin.removeprefix(f"{path.parent}/") if path.exists() else origin


def max_length_of(training: Mapping[str, Any], run: Run | None) -> int | None:
    """The `training.max_length` that holds: of a section, else of a run, else the trainer's
    default for a run, and no limit without one.

    Raises: UserError unless it is a positive whole number.
    """
    value = training.get("max_length")
    if "max_length" not in training and run is not None:
        default = {field.name: field.default for field in dataclasses.fields(SFTConfig)}
        value = run.training.get("max_length", default["max_length"])
    if value is not None and (not isinstance(value, int) or value < 1):
        raise UserError(f"training.max_length: must be a positive whole number, found {value!r}")
    return value
