"""Small models and shapes whose numbers can be counted by hand."""

from typing import Any

from transformers import AutoConfig

from otr.training.shape import ModelShape, model_on_meta, shape_of

QWEN_3B: dict[str, Any] = {
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008,
    "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}  # fmt: skip

SMALL: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 224, "num_hidden_layers": 3,
    "num_attention_heads": 6, "head_dim": 16, "num_key_value_heads": 2, "tie_word_embeddings": False,
}  # fmt: skip


def small(lora_rank: int | None = None, **changes: Any) -> ModelShape:
    """A Mistral whose heads together are wider than its states."""
    config = AutoConfig.for_model("mistral", **{**SMALL, **changes})
    return shape_of(model_on_meta(config, lora_rank))
