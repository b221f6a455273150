"""A short run, started by torchrun in each process; the first writes the final weights."""

import sys
from pathlib import Path

from safetensors.torch import save_file

from otr import OTR, OTRTrainer
from tests.training.models import arguments, dataset, model, tokenizer


def main(folder: Path, batch: int) -> None:
    trainer = OTRTrainer(
        model=model("gpt2").double(),
        args=arguments(folder, per_device_train_batch_size=batch, ddp_backend="gloo"),
        train_dataset=dataset(),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=32),
    )
    trainer.train()
    if trainer.is_world_process_zero():
        inner = trainer.accelerator.unwrap_model(trainer.model)
        weights = {name: value.contiguous() for name, value in inner.named_parameters()}
        save_file(weights, folder / "weights.safetensors")
        lines = [line for line in trainer.state.log_history if "loss" in line]
        (folder / "losses.txt").write_text("\n".join(str(line["loss"]) for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
