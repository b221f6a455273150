"""`otr train` started by torchrun in two processes; one of them gets a signal in its fourth step."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from otr.signals import Stopped
from otr.training import pipeline
from otr.training.config import Run


class SignalAt(TrainerCallback):
    """Sends this process SIGTERM at the end of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def main(folder: Path, name: str, step: int) -> None:
    rank = int(os.environ["RANK"])
    run = Run.model_validate(json.loads((folder / "run.json").read_text()))
    run = run.model_copy(update={"output_dir": str(folder / name)})
    if rank == 1 and step:
        usual = pipeline.run_callbacks
        pipeline.run_callbacks = lambda *words: [SignalAt(step), *usual(*words)]
    words = "finished"
    try:
        pipeline.train(run, progress=False)
    except Stopped as stopped:
        words = str(stopped)
    (folder / f"{name}-{rank}.txt").write_text(words)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
