"""Processes of a run find each other, and one that loses another says so and ends."""

import os
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from transformers import Trainer

from otr import runs
from otr.terminal import visible
from otr.training.checkpoints import latest

_DEFAULT_TIMEOUT_SECONDS = 1800
"""The default of TRL's `ddp_timeout`."""

_JOINING_SECONDS = 600

_CONNECTION = ("gloo/", "Gloo ", "[c10d]", "Connection closed by peer", "Connection reset by peer")
_WAITED = ("timed out", "timeout", "Timed out", "Timeout")
_MISUSED = ("invalid usage", "Duplicate GPU", "invalid argument")
_LONGEST_QUOTE = 200
_SOURCE_PLACE = re.compile(r"^\s*\[\S+:\d+\]\s*")
"""Where in a library's own source an error was raised."""


def join_on_cpu(training: Mapping[str, Any]) -> None:
    """Join the process group of a run on CPUs with `training.ddp_timeout` as its time-out.

    On accelerators the trainer does so itself; on CPUs it leaves that setting out, and a process
    would wait half an hour for one that is gone.
    """
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    seconds = training.get("ddp_timeout", _DEFAULT_TIMEOUT_SECONDS)
    if not (started and training.get("use_cpu")) or torch.distributed.is_initialized():
        return
    # A time-out of another type is refused with the other settings.
    if not isinstance(seconds, int) or seconds <= 0 or torch.distributed.is_mpi_available():
        return
    # Until all are there they load libraries, at different speeds: nobody is lost by being late.
    joining = timedelta(seconds=max(seconds, _JOINING_SECONDS))
    store, rank, count = next(rendezvous("env://", timeout=joining))
    # Processes that torchrun has started again may find the addresses of those before them there.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"attempt_{attempt}", store)
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=count, timeout=joining
    )
    torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))


def is_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process is gone or cannot be reached."""
    text = str(error)
    if not isinstance(error, RuntimeError) or any(words in text for words in _MISUSED):
        return False
    return isinstance(error, torch.distributed.DistError) or any(
        words in text for words in _CONNECTION
    )


def lost_process_words(error: BaseException, folder: Path, trainer: Trainer | None) -> str:
    """What to say and do after another process was lost; empty if the error is another.

    Args:
        error: what was raised.
        folder: the run folder.
        trainer: the run's, once there is one.
    """
    if not is_lost_process(error):
        return ""
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    first_line = next((line for line in str(error).splitlines() if line.strip()), "")
    quote = visible(_SOURCE_PLACE.sub("", first_line).strip()[:_LONGEST_QUOTE])
    return (
        f"process {rank} of {world} (on {socket.gethostname()}) lost another process "
        f"{_when(trainer)}: {_reason(str(error), trainer)}\n"
        f"  {quote}\n"
        "What the others printed last may say why; else look whether their machines are up and "
        f"reach each other.\n{_way_on(folder)}"
    )


def _when(trainer: Trainer | None) -> str:
    if trainer is None or not trainer.state.max_steps:
        return "before the first step"
    if trainer.state.global_step >= trainer.state.max_steps:
        return "after the last step"
    return f"in step {trainer.state.global_step + 1}"


def _reason(text: str, trainer: Trainer | None) -> str:
    if not any(words in text for words in _WAITED):
        return "its connection was closed"
    if trainer is None:
        return "it could not be reached"
    return (
        f"nothing came from it for {trainer.args.ddp_timeout:g} s (training.ddp_timeout; raise it "
        "if that process was only slow)"
    )


def _way_on(folder: Path) -> str:
    if (folder / runs.MODEL).is_dir():
        return f"The model is whole: {folder / runs.MODEL}"
    newest = latest(folder / runs.CHECKPOINTS)
    again = "The same command on every machine"
    if newest is None:
        return f"{again} begins anew: there is no checkpoint yet"
    return f"{again} goes on from {newest}"
