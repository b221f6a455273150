"""The time and the network traffic of a training step, counted from a model's numbers.

Letters: P parameters, P_t trained ones, T tokens of a GPU at once, D width, A heads times their
size, V vocabulary, N GPUs.
"""

from dataclasses import dataclass, replace

from otr.training.hardware import Network, Processor
from otr.training.setting import SIXTEEN_BITS, THIRTY_TWO_BITS, Engine, Setting
from otr.training.shape import ModelShape
from otr.training.step_memory import gradient_bytes, saved_bytes

_ATTENTION_BACKWARD = 2.5
"""Attention's backward pass makes five products where the forward pass made two
(FlashAttention-2, arXiv:2307.08691)."""

_OPTIMIZER_PASSES = 10
"""Passes over a number of each trained parameter in a step: AdamW reads four and writes three, and
clipping reads the gradient twice and writes it once."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Seconds of an optimizer step."""

    layers: float
    head: float
    update: float
    network: float
    tokens: int
    """Of all GPUs in the step."""

    @property
    def computing(self) -> float:
        """Without the network."""
        return self.layers + self.head + self.update

    @property
    def overlapped(self) -> float:
        """If all of the network's work hides behind the layers' (or the other way round)."""
        return max(self.layers, self.network) + self.head + self.update

    @property
    def apart(self) -> float:
        """If none of it does."""
        return self.computing + self.network

    @property
    def tokens_per_second(self) -> tuple[float, float]:
        """Of all GPUs together, without overlap and with it."""
        return self.tokens / self.apart, self.tokens / self.overlapped


def time_of(
    shape: ModelShape, setting: Setting, processor: Processor, network: Network | None = None
) -> StepTime:
    """Seconds of a step: FLOPs by FLOP/s, bytes by bytes a second.

    layers = FLOPs / layer_flops + activation_passes x saved bytes / bytes a second
    head   = FLOPs / head_flops + supervised tokens x V x logit_seconds
             (float32_flops where it multiplies in float32)
    update = 10 passes over 4 P_t bytes (over N where sharded)
    """
    flops = layer_flops(shape, setting)
    # Elementwise work is the same with checkpointing, and a third more for what is done again.
    without = replace(setting, is_checkpointed=False)
    passed = processor.activation_passes * saved_bytes(shape, without)
    passed *= 4 / 3 if setting.is_checkpointed else 1
    rate = processor.bytes_per_second.value
    layers = flops / processor.layer_flops.value + passed / rate
    logits = setting.tokens * setting.supervised_share * shape.vocabulary
    is_short = setting.compute == "bfloat16"
    rate_of_head = processor.head_flops if is_short else processor.float32_flops
    head = head_flops(shape, setting) / rate_of_head.value
    head += logits * processor.logit_seconds.value
    update = _OPTIMIZER_PASSES * THIRTY_TWO_BITS * shape.num_trained / setting.shards / rate
    seconds = 0.0
    if network is not None and setting.num_gpus > 1:
        seconds = network_bytes(shape, setting) / network.bytes_per_second(
            setting.num_gpus, setting.gpus_per_machine
        )
    times = setting.accumulation
    return StepTime(
        layers=layers * times,
        head=head * times,
        update=update,
        network=seconds,
        tokens=setting.tokens * times * setting.num_gpus,
    )


def network_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes that each GPU sends in an optimizer step, by ring collectives.

    An all-gather or reduce-scatter of n bytes sends (N-1)/N n, an all-reduce twice that. DDP: one
    all-reduce of the gradients. FSDP2: a gather of the layers in the forward pass and one in the
    backward pass, of embedding and head one, in the compute dtype, for each of the accumulated
    passes; one reduce-scatter of the gradients in the same dtype. ZeRO-3: two gathers and a
    reduce-scatter of all in each pass, in 16 bits, the 3 P of arXiv:1910.02054.
    """
    others = (setting.num_gpus - 1) / setting.num_gpus
    size = setting.compute_bytes
    if setting.engine is Engine.ONE:
        return 0.0
    if setting.engine is Engine.DDP:
        return 2 * others * gradient_bytes(shape, setting)
    if setting.engine is Engine.ZERO3:
        passed = SIXTEEN_BITS * (2 * shape.num_params + shape.num_trained)
        return others * setting.accumulation * passed
    again = shape.layer_params
    gathered = setting.accumulation * size * (shape.num_params + again)
    return others * (gathered + size * shape.num_trained)


def layer_flops(shape: ModelShape, setting: Setting) -> float:
    """FLOPs of the decoder layers in one forward and backward pass.

    Products: 2 FLOPs a parameter and token forward, as many for the gradient of the states, as many
    for that of the weights where these are trained (arXiv:2001.08361), and the forward's again under
    checkpointing. Attention, causal: 2 A a position before and token forward, 2.5 times that
    backward.
    """
    again = 1 if setting.is_checkpointed else 0
    products = 2.0 * shape.active_params * setting.tokens
    attention = 2.0 * shape.attention * setting.length * setting.tokens * shape.num_layers
    weights = 0 if shape.is_adapted else 1
    return products * (2 + weights + again) + attention * (1 + _ATTENTION_BACKWARD + again)


def head_flops(shape: ModelShape, setting: Setting) -> float:
    """FLOPs of the head: logits, gradient of the states and, where it is trained, of the weight,
    2 V D for each supervised token."""
    products = 3 if shape.is_head_trained else 2
    return products * 2.0 * shape.head_params * setting.tokens * setting.supervised_share
