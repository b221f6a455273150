"""A run with a budget in two processes whose clocks disagree."""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from otr import OTR, OTRTrainer
from otr.training.budget import TimeBudget
from otr.training.cost import Clock
from tests.training.models import arguments, dataset, model, tokenizer


class Counted(Clock):
    """A clock that is read as so many seconds a step, other ones in each process."""

    def __init__(self, seconds_a_step: float) -> None:
        super().__init__()
        self.seconds_a_step, self.num_steps = seconds_a_step, 0

    @property
    def seconds(self) -> float:
        return self.num_steps * self.seconds_a_step


class Rates(TrainerCallback):
    """Moves the clock, and notes the learning rate of every step."""

    def __init__(self, clock: Counted) -> None:
        self.clock = clock
        self.found: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clock.num_steps += 1

    def on_step_end(
        self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **_: Any
    ) -> None:
        self.found.append(lr_scheduler.get_last_lr()[0])


def main(folder: Path) -> None:
    config = arguments(
        folder, per_device_train_batch_size=2, ddp_backend="gloo", max_steps=1000,
        learning_rate=1e-3, lr_scheduler_type="linear",
    )  # fmt: skip
    clock = Counted(0.25 if config.process_index == 0 else 0.4)
    rates, budget = Rates(clock), TimeBudget(clock, 2.0)
    trainer = OTRTrainer(
        model=model("gpt2"),
        args=config,
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=8, sft_until=1.0),
        callbacks=[rates, budget],
    )
    trainer.progress_share = budget.share
    trainer.train()
    inner = trainer.accelerator.unwrap_model(trainer.model)
    found = {
        "rates": rates.found,
        "weights": sum(float(value.double().sum()) for value in inner.parameters()),
    }
    (folder / f"process-{config.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
