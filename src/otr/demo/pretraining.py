"""Making the embedded base models: one short training run, kept at three of its steps."""

import copy
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from otr import runs
from otr.demo.tokenizer import END, PAD, TURN_END, demo_tokenizer
from otr.demo.training_data import pretraining_texts

KEPT_STEPS = {"weak": 350, "mid": 500, "strong": 1200}
"""The step at which the run is kept as each base model."""

HASHES = "hashes.json"
"""The file with the sha256 of each base model's weights."""

_BATCH_SIZE = 48
_PEAK_LEARNING_RATE = 4e-3
_WARMUP_STEPS = 50
_SEED = 0

Progress = Callable[[int, int, float], None]
"""Told the step, the number of steps and the loss in nats."""


def rebuild(folder: Path, progress: Progress | None = None) -> dict[str, str]:
    """Train the base models anew, and put them and their hashes into a folder.

    About two minutes on one thread. The same machine and versions give the same hashes; another
    kind of processor may round differently, and give models that are as good.

    Returns the sha256 of each base model's weights, by name.
    """
    num_threads = torch.get_num_threads()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rebuild-") as aside:
        try:
            # Sums over several threads are added in no fixed order.
            torch.set_num_threads(1)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                _train(Path(aside), progress)
        finally:
            torch.set_num_threads(num_threads)
        hashes = {
            name: runs.file_sha256(Path(aside) / name / "model.safetensors") for name in KEPT_STEPS
        }
        for name in KEPT_STEPS:
            shutil.rmtree(folder / name, ignore_errors=True)
            os.replace(Path(aside) / name, folder / name)
    runs.write_json(folder / HASHES, hashes)
    return hashes


def base_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The architecture of the three: a Llama of 0.37 M parameters with tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        # At this width the usual 0.02 leaves the attention flat for the first hundreds of steps.
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=tokenizer.vocab[END],
        pad_token_id=tokenizer.vocab[PAD],
    )


def _train(folder: Path, progress: Progress | None) -> None:
    """The run itself; writes a folder for each kept step."""
    tokenizer = demo_tokenizer()
    model = LlamaForCausalLM(base_config(tokenizer))
    # Answers may end at the end of a text or of a turn.
    model.generation_config.eos_token_id = [tokenizer.vocab[END], tokenizer.vocab[TURN_END]]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=_PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0
    )
    num_steps = max(KEPT_STEPS.values())
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / _WARMUP_STEPS) * (1 - step / num_steps)
    )
    texts = pretraining_texts(_SEED)
    names = {step: name for name, step in KEPT_STEPS.items()}
    model.train()
    for step in range(1, num_steps + 1):
        batch = [text + END for text in itertools.islice(texts, _BATCH_SIZE)]
        encoded = tokenizer(batch, return_tensors="pt", padding=True, padding_side="right")
        mask_BT = encoded["attention_mask"]
        labels_BT = encoded["input_ids"].masked_fill(mask_BT == 0, -100)
        loss = model(input_ids=encoded["input_ids"], attention_mask=mask_BT, labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step in names:
            _save(model, tokenizer, folder / names[step])
        if progress is not None:
            progress(step, num_steps, loss.item())


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save in bfloat16, half the size, leaving the model in training as it is."""
    halved = copy.deepcopy(model)
    # `nn.Module.to` is wrapped in a way that hides its signature from the type checker.
    cast: Any = halved.to
    cast(torch.bfloat16)
    halved.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
