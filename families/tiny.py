"""A tiny model of any architecture, from its own configuration class.

Fields are made small by their names; what that misses is in `families/overrides.py`.
"""

import dataclasses
import re
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel

from families.architectures import Architecture
from families.overrides import AXIAL_ROPE, FLOAT32, OVERRIDES

VOCABULARY = 123
FIRST_SPECIAL = 90
"""Tokens from here on have a meaning to some configuration, so no data has them."""

_MOST_PARAMETERS = 20_000_000

_SMALL: tuple[tuple[str, Any], ...] = (
    (r"(.*_)?vocab_size(_.*)?|n_vocab|n_tokens", VOCABULARY),
    (r"(.*_)?(moe|expert|shared_expert)\w*_(intermediate|hidden|ffn)_(size|dim)", 16),
    (r"(.*_)?(intermediate|ffn|feed_forward|ffn_hidden|mlp)_(size|dim|hidden_size)", 48),
    (r"d_ff|n_inner|(encoder|decoder)_ffn_dim|intermediate_dim", 48),
    (r"(q_lora|kv_lora)_rank|qk_(nope|rope)_head_dim|v_head_dim|(.*_)?head_dim|d_kv", 8),
    (r"(global|linear_(key|value)|mamba_d|ssm)_head(_dim)?|attention_head_size|d_head", 8),
    (r"(.*_)?(num|n)_(.*_)?(kv|key_value|kv_shared)_heads|(.*_)?num_head_kv|num_kv_heads", 2),
    (r"linear_num_key_heads", 2),
    (r"(.*_)?(num|n)_(.*_)?heads?|(en|de)coder_attention_heads|n_head", 4),
    (r"(.*_)?(num|n)_(.*_)?layers|(en|de)coder_layers|n_layer|depth|(.*_)?num_blocks", 2),
    (r"(.*_)?(hidden|embed|embedding|attention_hidden)_(size|dim)|n_embd|d_model|dim|emb_dim", 32),
    (r"embedding_size|word_embed_proj_dim|(.*_)?projection_dim|out_hidden_size|output_dim", 32),
    (r"(.*_)?experts_per_(tok|token)|moe_topk|moe_k|top_k_experts|(moe_)?top_k", 2),
    (r"(num|n)_shared_experts|moe_num_shared_experts|num_zero_experts", 1),
    (r"(.*_)?(num|n)(_.*)?_experts|(.*_)?num_experts|moe_num_experts", 4),
    (r"hidden_size_global|base_channels", 32),
    (r"rotary_dim|index_head_dim", 4),
    (r"first_k_dense_replace|num_dense_layers|(moe_|encoder_|decoder_)?sparse_step", 1),
    (r"n_group|topk_group|num_expert_group|(mamba_)?n_groups|mamba_n_groups", 1),
    (r"(.*_)?max_(position|source|target)\w*|n_positions|n_ctx|max_seq_len|max_length", 128),
    (r"(.*_)?(image|input)_size|img_size", 32),
    (r"(.*_)?patch_size", 16),
)
"""Names and the values that stand for them; the first that fits counts."""

_UNTOUCHED = re.compile(r"chunk_size|.*_token_.*|max_length|min_length|num_beam.*|num_labels")
_LAYERS = re.compile(r"num_hidden_layers|n_layers?|num_layers")
_UNSET = {"head_dim": 8, "num_key_value_heads": 2, "attention_head_dim": 8}
"""What some configurations leave to whoever writes them down."""


def small_settings(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """Settings of a configuration class that make it small and without randomness."""
    settings: dict[str, Any] = {}
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    num_layers = next((value for name, value in fields.items() if _LAYERS.fullmatch(name)), None)
    special, parts = FIRST_SPECIAL, _parts(kind)
    for name, default in fields.items():
        is_count = isinstance(default, int) and not isinstance(default, bool)
        if name in parts:
            continue
        if re.fullmatch(r".*_token_(id|index)", name):
            if is_count:
                settings[name], special = special, special + 1
        elif "drop" in name or "jitter" in name:
            if isinstance(default, int | float) and not isinstance(default, bool):
                settings[name] = type(default)(0)
        elif name in _TELLING:
            settings[name] = _TELLING[name]
        elif is_count:
            small = _small(name)
            if small is not None and small < default:
                settings[name] = small
        elif isinstance(default, list | tuple) and len(default) == num_layers:
            settings[name] = type(default)(default[:2])
        elif default is None and name in _UNSET:
            settings[name] = _UNSET[name]
    heads, key_heads = fields.get("num_attention_heads"), fields.get("num_key_value_heads")
    if heads is not None and heads == key_heads:
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    if "mrope_section" in kind.ignore_keys_at_rope_validation:
        settings["rope_parameters"] = AXIAL_ROPE
    if fields.get("is_decoder") is False:
        settings["is_decoder"] = True
    if "initializer_range" in fields:
        settings["initializer_range"] = 0.2
    return settings


_TELLING = {
    "final_logit_softcapping": 3.0,
    "logits_soft_cap": 3.0,
    "output_logit_soft_cap": 3.0,
    "softcap": 3.0,
    "logits_scaling": 3.0,
    "logit_scale": 0.25,
    "output_multiplier": 0.5,
    "lm_head_multiplier": 0.5,
    "logits_mup_width_multiplier": 2.0,
    "unpadded_vocab_size": VOCABULARY - 3,
    "router_aux_loss_coef": 0.5,
    "output_router_logits": True,
}
"""What changes the logits or the loss, far from changing nothing."""


def _parts(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """The classes of a configuration's own configurations."""
    return kind.sub_configs  # type: ignore[return-value]


def _small(name: str) -> Any:
    if _UNTOUCHED.fullmatch(name):
        return None
    return next((value for pattern, value in _SMALL if re.fullmatch(pattern, name)), None)


def tiny_config(architecture: Architecture) -> PreTrainedConfig:
    """The configuration of a tiny model, its parts' included."""
    return _config(architecture.config_class(), OVERRIDES.get(architecture.model_type, {}))


def _config(kind: type[PreTrainedConfig], changes: dict[str, Any]) -> PreTrainedConfig:
    settings = small_settings(kind)
    whole: PreTrainedConfig | None = None
    for name, part in _parts(kind).items():
        inner = changes.get(name, {})
        if not isinstance(inner, dict):
            continue
        if part is AutoConfig and "model_type" in inner:
            part = CONFIG_MAPPING[inner["model_type"]]
        elif part is AutoConfig:
            whole = whole if whole is not None else kind()
            part = type(getattr(whole, name, None))
        if isinstance(part, type) and issubclass(part, PreTrainedConfig):
            settings[name] = _config(part, inner).to_dict()
    flat = {
        key: value
        for key, value in changes.items()
        if key not in settings or key not in _parts(kind)
    }
    return kind(**{**settings, **flat})


def tiny_model(architecture: Architecture, seed: int = 0) -> PreTrainedModel:
    """A model with random weights, large enough to make its logits differ; float64 if it can."""
    config = tiny_config(architecture)
    kind = architecture.model_class()
    with torch.device("meta"):
        num_parameters = sum(value.numel() for value in kind(config).parameters())
    if num_parameters > _MOST_PARAMETERS:
        raise ValueError(f"{num_parameters:,} parameters, which is no tiny model")
    dtype = torch.float32 if architecture.model_type in FLOAT32 else torch.float64
    torch.manual_seed(seed)
    made = kind._from_config(
        config, attn_implementation="eager", experts_implementation="eager", dtype=dtype
    )
    # Buffers that a model makes in a precision of its own would not meet its weights.
    return made.to(dtype)  # type: ignore[arg-type]
