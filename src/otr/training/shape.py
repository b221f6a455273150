"""A model's numbers, as plans need them: parameters by what they are for, and widths.

Nothing here knows any architecture: parameters are counted on the model itself, whose weights may
be on `meta`, and widths are read from its configuration.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What memory, time and network of a training step depend on."""

    num_params: int
    """All of them, a tied weight once, adapters included."""

    num_trained: int

    num_packed: int
    """Of the frozen ones, those that bitsandbytes holds in 4 or 8 bits."""

    packed_bytes: int
    """What these take, the scales of 4-bit blocks included."""

    active_params: int
    """Of all decoder layers, those that a token is multiplied with: of a mixture's experts, the
    share that the router chooses."""

    largest_layer: int
    """Parameters of the largest decoder layer."""

    head_params: int
    """V D."""

    is_head_trained: bool
    is_tied: bool
    """Whether the head is the embedding."""

    is_adapted: bool
    """Whether adapters are trained and the layers' own weights are not."""

    num_layers: int
    width: int
    inner: int
    """Width inside a layer's MLP, summed over the experts that a token goes through."""

    attention: int
    """Heads times their size."""

    kv: int
    """Key heads times their size."""

    vocabulary: int

    @property
    def layer_params(self) -> int:
        """Of everything but embedding and head."""
        return self.num_params - self.head_params * (1 if self.is_tied else 2)


def shape_of(model: Any) -> ModelShape:
    """The numbers of a causal language model, adapters included."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings().weight
    params = dict(model.named_parameters())
    trained = [value for value in params.values() if value.requires_grad]
    packed = [value for value in params.values() if is_packed(value)]
    layers = _decoder_layers(model, config.num_hidden_layers)
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    is_adapted = hasattr(model, "peft_config") and len(trained) < len(params)
    return ModelShape(
        num_params=sum(map(_numbers, params.values())),
        num_trained=sum(map(_numbers, trained)),
        num_packed=sum(map(_numbers, packed)),
        packed_bytes=sum(map(_packed_bytes, packed)),
        active_params=sum(_active(layer, config) for layer in layers),
        largest_layer=max(sum(map(_numbers, layer.parameters())) for layer in layers),
        head_params=head.numel(),
        is_head_trained=head.requires_grad,
        is_tied=model.get_input_embeddings().weight is head,
        is_adapted=is_adapted,
        num_layers=len(layers),
        width=config.hidden_size,
        inner=_inner(config),
        attention=heads * size,
        kv=(getattr(config, "num_key_value_heads", None) or heads) * size,
        vocabulary=head.shape[0],
    )


def model_on_meta(config: Any, lora_rank: int | None = None) -> Any:
    """A causal language model without storage, under LoRA adapters of a rank on every linear layer
    but the head where one is given."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    if lora_rank is None:
        return model
    from peft import LoraConfig, get_peft_model

    options = LoraConfig(r=lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.device("meta"):
        return get_peft_model(model, options)


def is_packed(weight: nn.Parameter) -> bool:
    """Whether bitsandbytes holds a parameter in 4 or 8 bits; 4-bit ones may be stored as floats."""
    return hasattr(weight, "quant_state") or not weight.is_floating_point()


def _numbers(weight: nn.Parameter) -> int:
    """How many numbers a parameter holds: two a byte in bitsandbytes' 4 bits, which keep the shape
    aside."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else math.prod(state.shape)


def _packed_bytes(weight: nn.Parameter) -> int:
    state = getattr(weight, "quant_state", None)
    return weight.nbytes + (0 if state is None else state.absmax.nbytes)


def _decoder_layers(model: nn.Module, num_layers: int) -> nn.ModuleList:
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    found = [part for part in lists if len(part) == num_layers]
    assert found, f"no list of {num_layers} decoder layers in {type(model).__name__}"
    return found[0]


def _active(layer: nn.Module, config: Any) -> int:
    """Parameters of a layer that a token is multiplied with."""
    experts, chosen = _experts(config)
    num_params = 0
    for name, value in layer.named_parameters():
        is_expert = ".experts." in f".{name}" and "shared" not in name
        num_params += _numbers(value) * chosen // experts if is_expert else _numbers(value)
    return num_params


def _experts(config: Any) -> tuple[int, int]:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next((n for name in names if (n := getattr(config, name, None))), 1)
    return experts, min(experts, getattr(config, "num_experts_per_tok", None) or experts)


def _inner(config: Any) -> int:
    experts, chosen = _experts(config)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    if experts == 1:
        return inner
    return (getattr(config, "moe_intermediate_size", None) or inner) * chosen
