"""TRL's preparation of rows, which cuts them to `max_length` without a word; here with one."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig

from otr.lm_head import IGNORED


def prepared_rows(
    prepare: Callable[..., Any],
    dataset: Any,
    args: SFTConfig,
    packing: bool,
    formatting_func: Any,
    dataset_name: str,
) -> Any:
    """What `prepare(dataset, args, packing, formatting_func, dataset_name)`, TRL's, makes of rows,
    with a warning for what was cut off or left out.

    Raises: ValueError if nothing is left to learn.
    """
    named = (packing, formatting_func, dataset_name)
    splits = packing and args.packing_strategy != "bfd"
    if splits or args.max_length is None or not isinstance(dataset, Dataset):
        made = prepare(dataset, args, *named)
        _require_labels(made, dataset_name)
        return made
    whole = copy.copy(args)
    whole.max_length, whole.shuffle_dataset = None, False
    named = (False, formatting_func, dataset_name)
    rows = prepare(dataset, whole, *named)
    assert isinstance(rows, Dataset)
    lengths = [len(row) for row in rows["input_ids"]]
    num_cut = sum(length > args.max_length for length in lengths)
    named = (packing, None, dataset_name)
    kept = prepare(rows, args, *named)
    assert isinstance(kept, Dataset)
    if packing or not num_cut:
        _require_labels(kept, dataset_name)
    cut = (
        f"max_length={args.max_length} cuts {num_cut} of {len(lengths)} rows of the "
        f"{dataset_name} data, the longest of {max(lengths, default=0)} tokens"
    )
    if packing:
        if num_cut:
            warnings.warn(
                f"{cut}; raise max_length, or set packing_strategy='bfd_split', which puts what "
                "is cut off into rows of its own",
                stacklevel=5,
            )
        return kept
    if len(kept) == 0:
        raise ValueError(f"{cut}, and leaves nothing to learn in any; raise max_length")
    num_left_out = len(rows) - len(kept)
    if num_cut:
        warnings.warn(
            f"{cut}, and {num_left_out} rows have nothing left to learn; raise max_length, or "
            "leave these rows out",
            stacklevel=5,
        )
    elif num_left_out:
        warnings.warn(
            f"{num_left_out} of {len(rows)} rows of the {dataset_name} data have no label to "
            "learn, and are left out; look at their masks",
            stacklevel=5,
        )
    return kept


def _require_labels(dataset: Any, name: str) -> None:
    """Raise ValueError if a dataset at hand has labels, and all of them are masked."""
    if not isinstance(dataset, Dataset) or "labels" not in dataset.column_names:
        return
    if not any(label != IGNORED for row in dataset for label in row["labels"]):  # type: ignore[index]
        raise ValueError(
            f"no row of the {name} data has a label to learn, so that the loss would always be 0; "
            "look at the masks"
        )
