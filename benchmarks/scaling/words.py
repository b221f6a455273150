"""The prose of docs/scaling.md."""

OPENING = """\
# Past one GPU

<!-- Written by `python -m benchmarks.scaling report` from the model of a step in `otr.training`
(`step_memory.py`, `step_time.py`; the formulas stand in their docstrings) and from what
`python -m benchmarks.scaling measure` measured. -->

Memory and time of a step on more GPUs than one, by the same model that `otr check` uses for the machine at hand.

**No GPU has been measured by this project.** Everything below about GPUs is reckoned from published
and assumed figures, listed with their sources at the end; memory is counted, time is a first guess.

## How to read it

Each row is the fastest setting that fits, for {rows} rows of {length} tokens on each GPU at once, every
token supervised. Preferred is what leaves the arithmetic alone: float32 weights with bfloat16
products and AdamW in 32 bits; AdamW in 8 bits, then bfloat16 weights, are taken only where nothing
else fits. LoRA (rank {rank} on every linear layer) holds the frozen weights in bfloat16.

*GB a GPU* is the fullest moment of a step; *states* are weights, gradients and optimizer as held at
that moment (before the backward pass there are no gradients), *buffers* what communication needs.
*s a step* is from all of the network's work hidden behind the layers' to none of it; *tokens/s* is of
all GPUs. *GB sent* is by each GPU, a step. GB are 10⁹ bytes.

**One GPU.** `otr check recipe.yaml` says what a run takes of the GPU at hand, what most of it is, and
what to change. What grows with rows and length are activations: `gradient_checkpointing` first, then
fewer rows with `gradient_accumulation_steps`. What does not are the states, 16 bytes a parameter when
it is trained in float32: LoRA, or more GPUs.

**One machine.** While a copy of the states fits on each GPU, DDP sends least. Where it does not,
FSDP2 shares the states: the same step with a gather of the weights, cheap inside a machine.

**Several machines.** The same FSDP2, as long as each GPU has a port of its own. With one slow port a
machine a step waits for the network (see *A slower network*): more tokens a step on each GPU (longer
rows, more rows), or LoRA under DDP, which sends next to nothing. Under FSDP2 accumulated passes hold
gradients that are not shared, 2 bytes a parameter on every GPU, which is not in these tables: use more
GPUs, or `training.accelerator_config: {{gradient_accumulation_kwargs: {{sync_each_batch: true}}}}`.

ZeRO-3 sends about what FSDP2 sends and shares the same states, with DeepSpeed's own buffers on top;
no row recommends it, but `configs/zero3.yaml` is there for those who have DeepSpeed.

## Plans
"""

CLOSING = """\
## What is not modelled

- Padding, packing, and rows of different lengths: memory goes by the longest row, time by the mean.
- Attention masks that keep attention from its fused kernel; activation functions other than
  a gated MLP's; mixtures' routing and their uneven experts (only the chosen experts' FLOPs are counted).
- Compaction, which leaves out part of the head's products in 16 bits: time is without it.
- Tensor, context and pipeline parallelism, hybrid sharding, offloading, quantized base weights.
- `torch.compile`, which published figures show to save some 14 %.
- Data loading, logging, samples, checkpoints; stragglers; the start of collectives (latency).
- Optimizers other than AdamW.
- What an allocator keeps beside what is in use: a reserve of the table above stands for it.
"""
