"""A run in two processes, one of which meets a loss that is not finite in its third step."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from otr import OTR, OTRTrainer
from tests.training.models import arguments, dataset, model, tokenizer


class Moves(TrainerCallback):
    """Whether each step changed the weights."""

    def __init__(self) -> None:
        self.sums: list[float] = []
        self.found: list[bool] = []

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        self.sums.append(_sum(model))

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.found.append(_sum(model) != self.sums[-1])


def _sum(model: Any) -> float:
    return sum(float(value.double().square().sum()) for value in model.parameters())


def main(folder: Path) -> None:
    config = arguments(folder, per_device_train_batch_size=2, ddp_backend="gloo", max_steps=5)
    moves = Moves()
    trainer = OTRTrainer(
        model=model("gpt2"),
        args=config,
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=8),
        callbacks=[moves],
    )
    usual = trainer.forward_with_head

    def forward(*words: Any, **keywords: Any) -> Any:
        head, outputs = usual(*words, **keywords)
        if config.process_index == 1 and trainer.state.global_step == 2:
            head = dataclasses.replace(head, loss=head.loss * torch.inf)
        return head, outputs

    trainer.forward_with_head = forward  # type: ignore[method-assign]
    trainer.train()
    inner = trainer.accelerator.unwrap_model(trainer.model)
    found = {"moved": moves.found, "weights": _sum(inner)}
    (folder / f"process-{config.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
