"""What the processes of a run agree on before they train: one run folder, one checkpoint."""

import errno
import os
import secrets
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from otr import runs
from otr.errors import UserError
from otr.training.checkpoints import checkpoint_name, find, why_broken
from otr.training.folder import Standing
from otr.training.resumable import own_state_name

_NONE = -1


def agreed(there: Standing, folder: Path, arguments: Any) -> Standing:
    """Where every process of the run goes on from, given where this one could.

    Machines that keep the run each on its own disk (`save_on_each_node`) may have been cut off
    between their saves: the run goes on from the newest checkpoint that all of them have.

    Args:
        there: what this process found.
        folder: the run folder.
        arguments: the run's SFTConfig.
    Raises: UserError, in every process, if the machines do not see one folder and are not told to
        keep one each, if no checkpoint is whole on all of them, or if it was written by another
        number of processes.
    """
    world = arguments.world_size
    if world == 1:
        _check_number_of_processes(there.checkpoint, 1)
        return there
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or world)
    shared = local == world or _is_shared(folder, arguments)
    _check_folders(folder, shared, local == world, arguments.save_on_each_node)
    if min(_gathered(there.is_finished, arguments)):
        return there
    newest = find(folder / runs.CHECKPOINTS).newest if there.is_finished else there.checkpoint
    steps = _gathered(_NONE if newest is None else _step(newest), arguments)
    is_begun = bool(max(_gathered(there.is_begun, arguments)))
    if max(steps) == _NONE:
        return Standing(is_begun, False, None, there.notes)
    checkpoint = folder / runs.CHECKPOINTS / checkpoint_name(min(steps))
    reason = None
    if min(steps) == _NONE:
        reason = "there is no checkpoint" if newest is None else f"there is {newest.name}"
    elif checkpoint != newest:
        reason = why_broken(checkpoint)
    if not min(_gathered(reason is None, arguments)):
        raise UserError(
            f"output_dir: no checkpoint is whole on every machine; on {socket.gethostname()}, in "
            f"{folder}: {reason or f'{checkpoint.name} is whole'}. --restart begins anew"
        )
    _check_number_of_processes(checkpoint, world if shared else local, arguments.process_index)
    if there.is_finished and arguments.should_save:
        shutil.rmtree(folder / runs.MODEL, ignore_errors=True)
    return replace(there, is_begun=True, is_finished=False, checkpoint=checkpoint)


def _check_folders(folder: Path, shared: bool, one_machine: bool, on_each: bool) -> None:
    if not shared and not on_each:
        raise UserError(
            f"output_dir: the machines do not share {folder}, so each would hold a part of every "
            "checkpoint. Give a folder that all of them see, or training.save_on_each_node=true "
            "to keep the run on each"
        )
    if shared and not one_machine and on_each:
        raise UserError(
            f"training.save_on_each_node: the machines share {folder}, and would write the same "
            "files; leave it out"
        )


def _is_shared(folder: Path, arguments: Any) -> bool:
    """Whether all processes see the folder of process 0."""
    # A name that no machine can have looked up before: network file systems remember absences.
    token = max(_gathered(secrets.randbits(62), arguments))
    made, sign = not folder.exists(), folder / f".seen-by-all-{token}"
    number = 0
    if arguments.process_index == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sign.touch()
        except OSError as error:
            number = error.errno or errno.EIO
    # All of them end by it: the others would wait for the first one.
    if number := max(_gathered(number, arguments)):
        raise UserError(f"output_dir: {folder} cannot be written: {os.strerror(number)}")
    seen = min(_gathered(sign.exists(), arguments))
    if arguments.process_index == 0:
        sign.unlink()
        if made:
            folder.rmdir()
    _gathered(0, arguments)
    return bool(seen)


def _check_number_of_processes(checkpoint: Path | None, expected: int, rank: int = 0) -> None:
    """Another number of them would give each step other rows."""
    if checkpoint is None:
        return
    states = {path.name for path in checkpoint.glob(own_state_name("*"))}
    if len(states) == expected and own_state_name(rank) in states or not states:
        return
    if len(states) == expected:
        raise UserError(
            f"output_dir: {checkpoint} was not written by process {rank}, which runs on this "
            "machine now: give each machine the --node-rank it had, or --restart"
        )
    raise UserError(
        f"output_dir: {checkpoint} was written by {len(states)} process(es), and {expected} would "
        f"go on: start {len(states)}, or --restart to begin anew"
    )


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _gathered(value: int, arguments: Any) -> list[int]:
    """The value of each process."""
    mine = torch.tensor([int(value)], dtype=torch.int64, device=arguments.device)
    of_all = [torch.zeros_like(mine) for _ in range(arguments.world_size)]
    torch.distributed.all_gather(of_all, mine)
    return [int(each.item()) for each in of_all]
