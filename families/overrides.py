"""What making small by name misses, a model type an entry. Only tests of models know models."""

from typing import Any

AXIAL_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
"""Parts of the rotary dimensions for time, height and width, of heads of 8."""

_ROPE_BY_LAYER = {
    kind: {"rope_type": "default", "rope_theta": 10000.0}
    for kind in ("full_attention", "sliding_attention")
}

_VISION_TOKENS = {
    f"{name}_token_id": 91 + place
    for place, name in enumerate(
        ("vision_start", "vision_end", "image", "video", "audio", "audio_start", "audio_end")
    )
}

OVERRIDES: dict[str, dict[str, Any]] = {
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "chameleon": {"vocabulary_map": {"<image>": 90, "IMGIMGAZ": 91, "IMGIMGBZ": 92}},
    "cohere_compass": {"text_config": {"rope_parameters": _ROPE_BY_LAYER}},
    "cohere_compass_text": {"rope_parameters": _ROPE_BY_LAYER},
    "dbrx": {
        "output_router_logits": False,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
    },
    "deepseek_ocr2": {
        "text_config": {"num_experts_per_tok": 2, "mlp_layer_types": ["dense", "sparse"]}
    },
    "deepseek_v2": {"num_key_value_heads": 4, "num_experts_per_tok": 2},
    "deepseek_v4": {"mlp_layer_types": ["hash_moe", "moe"]},
    "diffusion_gemma": {"text_config": {"num_global_key_value_heads": 2}},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "ernie4_5_vl_moe": {
        "text_config": {"rope_parameters": {**AXIAL_ROPE, "mrope_section": [1, 1, 2]}}
    },
    "flint": {"mlp_only_layers": [0]},
    "florence2": {
        "vision_config": {
            "embed_dim": [8, 16, 32, 64],
            "num_heads": [1, 2, 2, 2],
            "num_groups": [1, 2, 2, 2],
            "depths": [1, 1, 1, 1],
        }
    },
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
        }
    },
    "gemma4_unified_assistant": {
        "text_config": {"model_type": "gemma4_unified_text", "num_kv_shared_layers": 0}
    },
    "glm4v_moe": {"text_config": {"rope_parameters": {**AXIAL_ROPE, "mrope_section": [1, 1, 0]}}},
    "glm5_next": {"text_config": {"mlp_layer_types": ["dense", "sparse"]}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite4_vision": {"deepstack_layer_map": [[0, 0]]},
    "jetmoe": {"output_router_logits": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"num_key_value_heads": 4, "expert_ffn_hidden_size": 16, "zero_expert_num": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "molmo2": {"adapter_config": {"vision_feature_layer": [1, 0]}},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "paddleocr_vl": {"text_config": {"rope_parameters": AXIAL_ROPE}},
    "qwen2_5_omni_thinker": _VISION_TOKENS,
    "qwen3_omni_moe_thinker": _VISION_TOKENS,
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds": False,
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
        "hash_seed": 0,
    },
    "step3p7": {"text_config": {"sliding_window": 16}},
    "xlm": {"causal": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 9, "attention_head_dim": 16},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
}

FLOAT32 = {"blt", "inkling2", "inkling2_text", "xglm"}
"""What cannot run in float64."""
