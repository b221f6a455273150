"""The memory of one process in a training step, by what it is for, counted from a model's numbers.

One count for `otr check`, for plans past the machine at hand (docs/scaling.md) and for the
measurements that hold it to account (`python -m benchmarks.scaling`).

Letters: P parameters, P_t trained ones, T tokens of a GPU at once, D width, A heads times their
size, K key heads times theirs, I inner width, V vocabulary, N GPUs, b bytes of a number.
"""

from dataclasses import dataclass

from otr.lm_head.chunked import rows_in_chunk
from otr.training.hardware import CONTEXT, LIBRARIES
from otr.training.setting import SIXTEEN_BITS, THIRTY_TWO_BITS, Engine, Setting
from otr.training.shape import ModelShape

_EIGHT_BIT_STATES = 2 * (1 + 4 / 256)
"""Bytes a parameter: two moments of a byte, and a float32 scale for each block of 256 of them
(torchao, `AdamW8bit`)."""

_ZERO3_LIVE, _ZERO3_BUCKET = 10**9, 5 * 10**8
"""Parameters held whole at a time, and gradients in a bucket (DeepSpeed's defaults,
`stage3_max_live_parameters` and `reduce_bucket_size`)."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that one process holds at the fullest moment of a step, by what they are for."""

    moment: str
    weights: float
    """Of the model, and 16-bit copies of them that autocast keeps."""

    gradients: float
    optimizer: float
    activations: float
    """What the backward pass needs, and what is at hand of the layer that is worked on."""

    head: float
    """The chunk of logits, and the float32 gradient of the head's weight."""

    communication: float
    """Weights put together from their shards, and buffers of gradients."""

    process: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """By name, in order."""
        return {name: getattr(self, name) for name in PARTS}


PARTS = (
    "weights", "gradients", "optimizer", "activations", "head", "communication", "process",
)  # fmt: skip


def memory_of(shape: ModelShape, setting: Setting) -> Memory:
    """The fullest of three moments of a step after the first one.

    - in the head: weights, optimizer states, all saved activations, the head's chunk and gradients;
    - at the start of the backward pass: the same without the chunk, with the last layer at work (under
      checkpointing its activations are made again);
    - at its end: weights, optimizer states, all gradients, the first layer at work.

    With accumulation the gradients are there at all three. Weights: b P; gradients b P_t; AdamW
    8 P_t in float32; under FSDP2 and ZeRO-3 all of these over N, where ZeRO-3 holds 2 P in 16 bits and
    float32 weights beside the states, 4 P_t (ZeRO, arXiv:1910.02054). DDP keeps a second copy of the
    gradients in its buckets.
    """
    held, layer = saved_bytes(shape, setting), _layer_at_work(shape, setting)
    always = _weights(shape, setting), _optimizer(shape, setting)
    gradients = gradient_bytes(shape, setting)
    accumulated = gradients if setting.accumulation > 1 else 0.0
    head = _head(shape, setting)
    states = _gradient_of_states(shape, setting)
    tied = THIRTY_TWO_BITS if setting.weights == "float32" else SIXTEEN_BITS
    twice = shape.head_params * tied if shape.is_tied and shape.is_head_trained else 0
    copies = _autocast_copies(shape, setting)
    kept = 0.0 if setting.is_checkpointed else copies
    moments = {
        "in the head": (copies, accumulated, held + states, sum(head)),
        "at the start of the backward pass": (kept, accumulated, held + layer + states, head[1]),
        # The gradient of a tied embedding is made whole before it is added to the head's.
        "at the end of the backward pass": (0.0, gradients, layer + twice, 0.0),
    }
    found = [
        Memory(
            moment=moment,
            weights=always[0] + copied,
            gradients=gradient,
            optimizer=always[1],
            activations=activations,
            head=in_head,
            communication=_communication(shape, setting, moment),
            process=(CONTEXT if setting.device == "cuda" else LIBRARIES).value,
        )
        for moment, (copied, gradient, activations, in_head) in moments.items()
    ]
    return max(found, key=lambda memory: memory.total)


def saved_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes that the layers keep for the backward pass, counted on the decoder layer of
    transformers' Llama and Qwen with fused attention.

    A norm keeps its input, the normed states and, for the products after it, its output; attention
    keeps queries, keys, values and its output; the MLP keeps gate, activated gate, up and their
    product. A token and layer:

    4 (6 D + 2 A + 2 K + 4 I) in float32;
    16 D + 2 (2 A + 2 K + 4 I) in bfloat16, with the norms' inputs kept in float32;
    26 D + 2 (2 A + 2 K + 4 I) under autocast, where each product keeps its own copy of its input.

    Under adapters frozen norms do not keep the normed states, and every adapter keeps its input:
    4 (4 D + 2 A + 2 K + 4 I), and 18 D + 2 (3 A + 2 K + 4 I) in 16 bits.

    Under checkpointing a layer keeps its input alone.
    """
    if setting.is_checkpointed:
        return shape.num_layers * shape.width * setting.stream_bytes * setting.tokens
    return shape.num_layers * _saved_of_layer(shape, setting)


def _saved_of_layer(shape: ModelShape, setting: Setting) -> float:
    size = setting.compute_bytes
    products = size * (2 * shape.attention + 2 * shape.kv + 4 * shape.inner)
    if size == THIRTY_TWO_BITS:
        norms = (16 if shape.is_adapted else 24) * shape.width
    elif shape.is_adapted:
        norms = 18 * shape.width + SIXTEEN_BITS * shape.attention
    else:
        norms = (26 if setting.is_autocast else 16) * shape.width
    return setting.tokens * (norms + products)


def _layer_at_work(shape: ModelShape, setting: Setting) -> float:
    """The gradients at hand in a layer's backward pass, 3 I + 2 D, and under checkpointing what it
    saves when it is computed again."""
    size = setting.compute_bytes
    at_hand = setting.tokens * size * (3 * shape.inner + 2 * shape.width)
    return at_hand + (_saved_of_layer(shape, setting) if setting.is_checkpointed else 0)


def _gradient_of_states(shape: ModelShape, setting: Setting) -> float:
    """The last hidden states, and their gradient, made in the head in float32."""
    return setting.tokens * shape.width * (setting.stream_bytes + THIRTY_TWO_BITS)


def _weights(shape: ModelShape, setting: Setting) -> float:
    if setting.engine is Engine.ZERO3:
        return SIXTEEN_BITS * shape.num_params / setting.shards
    frozen = (shape.num_params - shape.num_trained - shape.num_packed) * setting.weight_bytes
    return (frozen + shape.packed_bytes + _trained_bytes(shape, setting)) / setting.shards


def _trained_bytes(shape: ModelShape, setting: Setting) -> float:
    size = THIRTY_TWO_BITS if shape.is_adapted else setting.weight_bytes
    return size * shape.num_trained


def gradient_bytes(shape: ModelShape, setting: Setting) -> float:
    """Of the gradients that a process holds when all are made."""
    if setting.engine is Engine.ZERO3:
        return SIXTEEN_BITS * shape.num_trained / setting.shards
    of_shards = _trained_bytes(shape, setting) / setting.shards
    if setting.engine is Engine.FSDP2 and setting.accumulation > 1:
        # Nothing is reduced before the last pass, so what is summed until then is not sharded.
        return of_shards + setting.compute_bytes * shape.num_trained
    return of_shards


def _optimizer(shape: ModelShape, setting: Setting) -> float:
    if setting.optimizer_bits == 8:
        states = _EIGHT_BIT_STATES * shape.num_trained
    else:
        states = 2 * _trained_bytes(shape, setting)
    if setting.engine is Engine.ZERO3:
        # Float32 weights lie with the states, which are float32 too.
        states = (2 * THIRTY_TWO_BITS + THIRTY_TWO_BITS) * shape.num_trained
    return states / setting.shards


def _head(shape: ModelShape, setting: Setting) -> tuple[float, float]:
    """The chunk of logits (and its 16-bit gradient, and under autocast a 16-bit copy of the weight),
    and the float32 gradient of the weight."""
    is_fused = setting.device == "cuda" and setting.compute == "bfloat16"
    copy = SIXTEEN_BITS * shape.head_params if is_fused and setting.is_autocast else 0
    per_logit = THIRTY_TWO_BITS + (SIXTEEN_BITS if is_fused else 0)
    supervised = int(setting.tokens * setting.supervised_share)
    rows = min(rows_in_chunk(shape.vocabulary, setting.device, per_logit), supervised)
    gradient = THIRTY_TWO_BITS if shape.is_head_trained else 0
    return float(rows * shape.vocabulary * per_logit + copy), float(gradient * shape.head_params)


def _autocast_copies(shape: ModelShape, setting: Setting) -> float:
    """Under autocast each product's weight is kept in 16 bits, too, until its backward pass; under
    checkpointing, until the forward pass has ended. Packed ones are unpacked anew each time."""
    copied = shape.layer_params - shape.num_packed
    return SIXTEEN_BITS * copied if setting.is_autocast else 0.0


def _communication(shape: ModelShape, setting: Setting, moment: str) -> float:
    """DDP: buckets as large as the gradients. FSDP2: three layers' weights (the one at work, the one
    after it, and its transfer) and the whole head; in the backward pass two layers' gradients on
    their way, and those of head or embedding. ZeRO-3: DeepSpeed's own bounds."""
    if setting.engine is Engine.ONE or setting.num_gpus == 1:
        return 0.0
    if setting.engine is Engine.DDP:
        return gradient_bytes(shape, setting)
    if setting.engine is Engine.ZERO3:
        live, bucket = min(shape.num_params, _ZERO3_LIVE), min(shape.num_trained, _ZERO3_BUCKET)
        return SIXTEEN_BITS * (live + bucket)
    size = setting.compute_bytes
    layers = 3 * shape.largest_layer + shape.head_params
    if moment != "in the head":
        trained = 0 if shape.is_adapted else 1
        layers += trained * 2 * (shape.largest_layer + shape.head_params)
    return size * layers
