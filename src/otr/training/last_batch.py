"""Rows that an epoch's last step repeats so that every process has as many: they count nowhere.

With P processes of B rows each, N rows leave N mod (P B) for the last step of an epoch, process p the
rows from p B on. accelerate fills the rest up with rows from the epoch's beginning.
"""

from collections.abc import Callable
from typing import Any

import torch

from otr.lm_head import IGNORED

ROW_LENGTHS = "row_lengths"


class RowLengths:
    """A collator that also says how many tokens each row has, which a flattened batch does not show."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows if "input_ids" in row]
        batch = self.collator(rows)
        if len(lengths) == len(rows):
            batch[ROW_LENGTHS] = torch.tensor(lengths)
        return batch

    def __getattr__(self, name: str) -> Any:
        if name == "collator":
            raise AttributeError(name)
        return getattr(self.collator, name)


def kept_rows(accelerator: Any, per_process: int) -> int | None:
    """How many of this process's rows are no repeats in the batch that its loader yielded last; None
    if all are."""
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not accelerator.even_batches:
        return None
    if not state.end_of_dataloader:
        return None
    try:
        num_rows = len(state.active_dataloader.dataset)
    except TypeError:
        # A stream does not know its end.
        return None
    if accelerator.split_batches:
        per_process //= accelerator.num_processes
    remainder = num_rows % (per_process * accelerator.num_processes)
    if remainder == 0:
        return None
    kept = min(max(remainder - accelerator.process_index * per_process, 0), per_process)
    return None if kept == per_process else kept


def without_repeats(inputs: dict[str, Any], num_kept: int | None) -> dict[str, Any]:
    """The batch with nothing to learn in rows after the first `num_kept`, and `num_seen`, the tokens
    of those; without what `RowLengths` added."""
    inputs = dict(inputs)
    lengths = inputs.pop(ROW_LENGTHS, None)
    if num_kept is None:
        return inputs
    labels, mask = inputs["labels"].clone(), inputs.get("attention_mask")
    if labels.shape[0] == 1 and lengths is not None and len(lengths) > 1:
        num_seen = lengths[:num_kept].sum()
        labels[:, int(num_seen) :] = IGNORED
    else:
        labels[num_kept:] = IGNORED
        num_seen = labels[:num_kept].numel() if mask is None else mask[:num_kept].sum()
    inputs["labels"] = labels
    inputs["num_seen"] = torch.as_tensor(num_seen, device=labels.device)
    return inputs
