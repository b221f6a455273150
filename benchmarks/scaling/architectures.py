"""Public models as the numbers of their configurations, without weights."""

from dataclasses import replace
from functools import cache
from typing import Any

from otr.training.shape import ModelShape, model_on_meta, shape_of

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2.5-3B": ("qwen2", {
        "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }),
    "Qwen2.5-0.5B": ("qwen2", {
        "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }),
    "Qwen2.5-1.5B": ("qwen2", {
        "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960,
        "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }),
    "Qwen2.5-7B": ("qwen2", {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    }),
    "Qwen3-4B": ("qwen3", {
        "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "tie_word_embeddings": True,
    }),
    "Qwen3-8B": ("qwen3", {
        "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "tie_word_embeddings": False,
    }),
    "Llama-3.1-8B": ("llama", {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    }),
    "Llama-3.1-70B": ("llama", {
        "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    }),
}  # fmt: skip
"""Model type and numbers, as in the `config.json` that each is published with."""

LORA_RANK = 16


def name_of(hub_id: str) -> str:
    """The name here of a model on the hub: bases and their tuned offspring are built alike."""
    return hub_id.split("/")[-1].removesuffix("-Instruct").removesuffix("-Base")


@cache
def shape(name: str, lora_rank: int | None = None) -> ModelShape:
    """The numbers of one of these, whose layers are alike: counted with one layer and with two."""
    from transformers import AutoConfig

    kind, numbers = ARCHITECTURES[name]
    one, two = (
        shape_of(
            model_on_meta(
                AutoConfig.for_model(kind, **{**numbers, "num_hidden_layers": n}), lora_rank
            )
        )
        for n in (1, 2)
    )
    more = numbers["num_hidden_layers"] - 1

    def stretched(field: str) -> int:
        first, second = getattr(one, field), getattr(two, field)
        return first + more * (second - first)

    counts = {
        field: stretched(field)
        for field in ("num_params", "num_trained", "active_params", "num_layers")
    }
    return replace(one, **counts)
