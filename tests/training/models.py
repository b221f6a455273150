"""Small models of real architectures, a tokenizer and data, made in the tests."""

from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from trl.trainer.sft_config import SFTConfig

VOCABULARY = 123

_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 120,
    "pad_token_id": 121,
}

_EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "gemma2": {"final_logit_softcapping": 3.0, "tie_word_embeddings": True, "query_pre_attn_scalar": 8},
    "cohere": {"logit_scale": 0.25, "tie_word_embeddings": True},
    "granite": {"logits_scaling": 3.0},
    "phi": {"partial_rotary_factor": 0.5},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "mixtral": {**_EXPERTS, "router_aux_loss_coef": 0.5, "output_router_logits": True},
    "qwen3_moe": {**_EXPERTS, "moe_intermediate_size": 16, "router_aux_loss_coef": 0.5, "output_router_logits": True},
}  # fmt: skip
"""Architectures, with what is special about each head: tied, capped, scaled, biased, MoE."""


def model(
    kind: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> PreTrainedModel:
    """A model with random weights large enough to make its logits differ."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**_SMALL, **CONFIGS[kind], **changes})
    config.initializer_range = 0.2
    made = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    head = made.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias)
    made.to(dtype)  # type: ignore[arg-type]
    return made


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, w0 … w119, with an end and a pad token."""
    words = {f"w{index}": index for index in range(120)}
    inner = Tokenizer(
        models.WordLevel(words | {"<end>": 120, "<pad>": 121, "<unk>": 122}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<pad>", unk_token="<unk>"
    )


def dataset(num_rows: int = 64, seed: int = 1) -> Dataset:
    """Rows of 5 to 30 tokens that follow a simple rule, a prompt of each unsupervised."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(num_rows):
        length = int(torch.randint(5, 30, (1,), generator=generator))
        start = int(torch.randint(0, 120, (1,), generator=generator))
        ids = [(start + 7 * index) % 120 for index in range(length)]
        prompt = int(torch.randint(1, length - 1, (1,), generator=generator))
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return Dataset.from_list(rows)


def arguments(folder: Any, **changes: Any) -> SFTConfig:
    """Settings of a short run on the CPU in float32, every step logged."""
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "max_steps": 8,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
    }
    return SFTConfig(**{**settings, **changes})
