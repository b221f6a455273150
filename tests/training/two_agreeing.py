"""What two processes, each of which may have a disk of its own, agree to go on from."""

import json
import os
import socket
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from otr import runs
from otr.errors import UserError
from otr.training.agreement import agreed
from otr.training.checkpoints import ASIDE, checkpoint_name, find, seal
from otr.training.folder import Standing
from otr.training.resumable import own_state_name
from tests.processes import forks


def checkpoint(run: Path, step: int, *ranks: int) -> None:
    """Write one with the states of these processes."""
    aside = run / runs.CHECKPOINTS / ASIDE
    aside.mkdir(parents=True)
    (aside / "weights").write_text(str(step))
    for rank in ranks:
        (aside / own_state_name(rank)).write_text("{}")
    seal(aside, run / runs.CHECKPOINTS / checkpoint_name(step))


def found_by_two(cases: list[tuple[str, str, bool]]) -> list[list[str]]:
    """For each case (the run folder of each process, and `save_on_each_node`), what each of them
    goes on from, or its error."""
    context = forks()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = context.Queue()
    processes = [context.Process(target=_process, args=(n, port, cases, queue)) for n in range(2)]
    for process in processes:
        process.start()
    answers = dict(queue.get(timeout=240) for _ in processes)
    for process in processes:
        process.join()
    return [list(pair) for pair in zip(answers[0], answers[1], strict=True)]


def _process(rank: int, port: int, cases: list[tuple[str, str, bool]], queue: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "1"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    queue.put((rank, [_answer(rank, Path((one, other)[rank]), each) for one, other, each in cases]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _answer(rank: int, run: Path, on_each: bool) -> str:
    arguments = SimpleNamespace(
        world_size=2, process_index=rank, device=torch.device("cpu"), should_save=rank == 0 or on_each,
        save_on_each_node=on_each,
    )  # fmt: skip
    there = Standing(run.exists(), (run / runs.MODEL).is_dir(), find(run / runs.CHECKPOINTS).newest)
    try:
        now = agreed(there, run, arguments)
    except UserError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    return json.dumps([now.is_finished, now.checkpoint and now.checkpoint.name])
