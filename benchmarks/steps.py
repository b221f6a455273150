"""Whole training steps: `OTRTrainer` against TRL's `SFTTrainer`, on the same model and batches.

Each trainer has a copy of one small Qwen2 with random weights, and its own AdamW. In each round
every trainer makes a step on the same batch: `training_step` (collated inputs to gradients, with
what the trainer notes for its log), the optimizer's step, and the clearing of gradients. Loading
of data and the writing of logs are outside.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.heads import Outcome
from benchmarks.measuring import Ratio, cpu_seconds, cuda_seconds, paired_ratio
from otr.objectives import OTR, SFT

if TYPE_CHECKING:
    from trl.trainer.sft_trainer import SFTTrainer

THEIRS, OURS, OUR_SFT = "SFTTrainer", "OTRTrainer, OTR", "OTRTrainer, SFT"

_PROMPT_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """The model and the batch; half of each row is a prompt, and not supervised."""

    width: int = 256
    num_layers: int = 2
    vocabulary: int = 32768
    rows: int = 8
    length: int = 256
    dtype: str = "float32"
    rounds: int = 6


def measured_steps(case: StepCase, device: str) -> dict[str, Any]:
    """Seconds of each trainer's step, a round each, and their ratios to TRL's."""
    from trl.trainer.sft_trainer import SFTTrainer

    from otr import OTRTrainer

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = _rows(case)
        steps = {
            THEIRS: _step(SFTTrainer, case, rows, folder, device),
            OURS: _step(OTRTrainer, case, rows, folder, device, objective=OTR()),
            OUR_SFT: _step(OTRTrainer, case, rows, folder, device, objective=SFT()),
        }
        clock = cuda_seconds if device == "cuda" else cpu_seconds
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for index in range(case.rounds + 1):
            turn = index % len(steps)
            for name in [*steps][turn:] + [*steps][:turn]:
                taken, _ = clock(steps[name])
                # The first round warms up.
                if index > 0:
                    seconds[name].append(taken)
    ratios: dict[str, Ratio | None] = {
        name: paired_ratio(seconds[name], seconds[THEIRS]) for name in (OURS, OUR_SFT)
    }
    return {
        **asdict(case),
        "supervised_share": 1 - _PROMPT_SHARE,
        "seconds": seconds,
        "to_trl": {name: ratio.as_json() for name, ratio in ratios.items() if ratio is not None},
    }


def _rows(case: StepCase) -> Any:
    from datasets import Dataset

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(case.vocabulary, (case.rows, case.length), generator=generator)
    labels = ids.clone()
    labels[:, : int(_PROMPT_SHARE * case.length)] = -100
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist()})


def _model(case: StepCase) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=case.vocabulary,
        hidden_size=case.width,
        intermediate_size=4 * case.width,
        num_hidden_layers=case.num_layers,
        num_attention_heads=max(1, case.width // 64),
        num_key_value_heads=max(1, case.width // 128),
        max_position_embeddings=case.length,
        tie_word_embeddings=True,
    )
    model: Any = Qwen2ForCausalLM(config)
    return model.to(getattr(torch, case.dtype))


def _step(
    kind: type["SFTTrainer"],
    case: StepCase,
    rows: Any,
    folder: str,
    device: str,
    **keywords: Any,
) -> Callable[[], Outcome]:
    """One training step of a trainer of this kind, as a call."""
    from trl.trainer.sft_config import SFTConfig

    from otr.pretrained import load_tokenizer

    arguments = SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=case.rows,
        max_length=None,
        learning_rate=1e-5,
        report_to="none",
        save_strategy="no",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=device == "cpu",
        disable_tqdm=True,
    )
    trainer = kind(
        model=_model(case),
        args=arguments,
        train_dataset=rows,
        processing_class=load_tokenizer("demo"),
        **keywords,
    )
    optimizer = trainer.create_optimizer()
    batch = dict(next(iter(trainer.get_train_dataloader())))
    num_tokens = (batch["labels"][:, 1:] != -100).sum().to(arguments.device)
    model: Any = trainer.model
    model.train()

    def run() -> Outcome:
        trainer.training_step(model, dict(batch), num_tokens)
        optimizer.step()
        optimizer.zero_grad()
        return Outcome()

    return run
