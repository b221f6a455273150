"""Curves that a tracker kept, as rows of metrics."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from otr.errors import UserError

_EVENTS = "events.out.tfevents.*"
_PREFIX = "train/"


def has_events(folder: Path) -> bool:
    """Whether TensorBoard's files lie in the folder."""
    return next(folder.glob(_EVENTS), None) is not None


def tracked_metrics(folder: Path) -> list[dict[str, Any]]:
    """The training rows in a folder of TensorBoard's files, made by any trainer of transformers:
    step, seconds since the first of them, and the columns that were logged.

    Raises: UserError if tensorboard is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise UserError(
            f"{folder}: TensorBoard's files are read by its own package; pip install tensorboard"
        ) from None
    # Every scalar; nothing else is loaded.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    rows: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for tag in events.Tags()["scalars"]:
        if not tag.startswith(_PREFIX):
            continue
        for event in events.Scalars(tag):
            row = rows[event.step]
            row.setdefault("wall_time", event.wall_time)
            row[tag.removeprefix(_PREFIX)] = event.value
    kept = [{"step": step, **rows[step]} for step in sorted(rows) if "loss" in rows[step]]
    begin = kept[0]["wall_time"] if kept else 0.0
    return [row | {"seconds": row.pop("wall_time") - begin} for row in kept]
