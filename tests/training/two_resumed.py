"""Runs of `otr train` in two processes, one after the other.

Each is named by its folder, whose run file lies beside it, and the step in which the second process
gets a signal (0: none), or by `again`: its model is removed, and only that is to be made anew.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from otr import runs
from otr.signals import Stopped
from otr.training import pipeline, prepared_run
from otr.training.config import Run
from tests.training.fsdp_on_cpu import shard_on_cpu


class SignalAt(TrainerCallback):
    """Sends this process SIGTERM at the end of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def run(folder: Path, name: str, what: str) -> None:
    rank = int(os.environ["RANK"])
    recipe = Run.model_validate(json.loads((folder / f"{name}.json").read_text()))
    callbacks, tokenized = pipeline.run_callbacks, prepared_run.tokenized_dataset
    num_tokenized = [0]

    def counted(*words: Any) -> Any:
        num_tokenized[0] += 1
        return tokenized(*words)

    if what == "again":
        torch.distributed.barrier()
        if rank == 0:
            shutil.rmtree(folder / name / runs.MODEL)
        torch.distributed.barrier()
    elif rank == 1 and what != "0":
        pipeline.run_callbacks = lambda *words: [SignalAt(int(what)), *callbacks(*words)]
    prepared_run.tokenized_dataset = counted
    words = "finished"
    try:
        pipeline.train(recipe, progress=False)
    except Stopped as stopped:
        words = str(stopped)
    finally:
        pipeline.run_callbacks, prepared_run.tokenized_dataset = callbacks, tokenized
    said = {"words": words, "num_tokenized": num_tokenized[0]}
    (folder / f"{name}-{what}-{rank}.json").write_text(json.dumps(said))


def main(folder: Path, *cases: str) -> None:
    shard_on_cpu()
    for case in cases:
        run(folder, *case.split(":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
