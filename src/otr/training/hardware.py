"""What a step's memory and time are reckoned with: figures of processors and networks, each with
its source.

A figure is `measured` by this project, `published` by somebody else, or `assumed`. No GPU has been
measured by this project; every figure of one is published or assumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number, and why it should be believed."""

    value: float
    unit: str
    kind: Literal["measured", "published", "assumed"]
    source: str


@dataclass(frozen=True, kw_only=True)
class Processor:
    """An accelerator or a CPU."""

    name: str
    memory_bytes: Figure
    layer_flops: Figure
    """FLOP/s of a model's decoder layers, with all that goes on beside their products."""

    head_flops: Figure
    """FLOP/s of the head's products alone, in 16 bits."""

    float32_flops: Figure
    """The same in float32."""

    bytes_per_second: Figure
    """Of the memory."""

    logit_seconds: Figure
    """Seconds per logit of the head's work beside its products."""

    activation_passes: int = 0
    """How often saved activations pass through memory beside what `layer_flops` already has in it."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Bytes a second, one way."""

    in_machine: Figure
    """Between GPUs of one machine, for each of them."""

    between_machines: Figure
    """Between machines, for each of them."""

    reached: Figure
    """Share of these that collectives reach."""

    def bytes_per_second(self, num_gpus: int, gpus_per_machine: int) -> float:
        """What a ring of all GPUs reaches, for each of them.

        With one network card for each GPU, rings are laid so that each card carries its own, and a
        machine sends no more than one GPU of it does: its cards count together, up to the rate
        inside the machine.
        """
        inside = self.in_machine.value
        slowest = inside if num_gpus <= gpus_per_machine else self.between_machines.value
        return min(inside, slowest) * self.reached.value


def _vendor(value: float, unit: str, sheet: str) -> Figure:
    return Figure(value=value, unit=unit, kind="published", source=f"NVIDIA, {sheet}")


HEAD_SECONDS_PER_LOGIT = Figure(
    value=10.8e-9,
    unit="s",
    kind="measured",
    source="benchmarks/results/amd-epyc.json: OTR less three bare products, a logit; median of the "
    "float32 cases with random states and V of at least 16,384",
)

_HOPPER_LAYERS = Figure(
    value=303e12,
    unit="FLOP/s",
    kind="published",
    source="torchtitan, docs/performance.md: 5,762 tokens/s a GPU of Llama 3.1 8B in bfloat16 on "
    "8 H100, rows of 8,192 tokens, without torch.compile; times our count of 52.5 GFLOP a token",
)
_HOPPER_HEAD = Figure(
    value=728e12,
    unit="FLOP/s",
    kind="published",
    source="published for an H100: three bare bfloat16 products of 8,192 x 4,096 x 151,936 in 42 ms",
)
_H100_BYTES = _vendor(3.35e12, "B/s", "H100 SXM data sheet")
_H200_BYTES = _vendor(4.8e12, "B/s", "H200 SXM data sheet")


def _hopper(name: str, memory: float, bandwidth: Figure) -> Processor:
    return Processor(
        name=name,
        memory_bytes=_vendor(memory, "B", f"{name} SXM data sheet"),
        layer_flops=_HOPPER_LAYERS,
        head_flops=_HOPPER_HEAD,
        float32_flops=_vendor(67e12, "FLOP/s", f"{name} SXM data sheet: FP32, a ceiling"),
        bytes_per_second=bandwidth,
        logit_seconds=Figure(
            value=12 / bandwidth.value,
            unit="s",
            kind="assumed",
            source="a logit of 4 bytes is read twice and written once, at the data sheet's rate: a "
            "floor, since our kernels were not timed on this GPU",
        ),
    )


H100 = _hopper("H100", 80e9, _H100_BYTES)
H200 = _hopper("H200", 141e9, _H200_BYTES)

_REACHED = Figure(
    value=0.8, unit="share", kind="assumed", source="of a link's rate; measure with nccl-tests"
)
_NVLINK = _vendor(450e9, "B/s", "H100 SXM data sheet: NVLink, 900 GB/s both ways together")

INFINIBAND = Network(
    in_machine=_NVLINK,
    between_machines=_vendor(400e9, "B/s", "DGX H100 user guide: 8 ports of 400 Gb/s"),
    reached=_REACHED,
)
"""Machines with a 400 Gb/s port for each of their eight GPUs."""

ETHERNET = Network(
    in_machine=_NVLINK,
    between_machines=Figure(
        value=12.5e9, unit="B/s", kind="assumed", source="one port of 100 Gb/s a machine"
    ),
    reached=_REACHED,
)
"""Machines with a single 100 Gb/s port."""

RESERVE = Figure(
    value=0.05,
    unit="share",
    kind="assumed",
    source="of a GPU's memory, lost between the allocator's blocks",
)
CONTEXT = Figure(
    value=1e9, unit="B", kind="assumed", source="CUDA's context and the libraries' workspaces"
)
LIBRARIES = Figure(
    value=614.0 * 2**20,
    unit="B",
    kind="measured",
    source="docs/log.md: a process with torch, transformers and TRL loaded, that trains next to "
    "nothing on a CPU",
)


_ROUNDS = 8


def probed(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    clock: Callable[[], float] = perf_counter,
) -> Processor:
    """This machine's processor, from products and additions of about a quarter of a second.

    `layer_flops` and `head_flops` are those of a 512 x 1024 x 1024 product (4096 x 4096 x 4096 on
    an accelerator), bytes a second those of an addition of two tensors of 32 MiB.
    """
    wide = device != "cpu"
    size = (4096, 4096, 4096) if wide else (512, 1024, 1024)
    left = torch.ones(size[0], size[1], dtype=dtype, device=device)
    right = torch.ones(size[1], size[2], dtype=dtype, device=device)
    flops = 2 * size[0] * size[1] * size[2] / _seconds(lambda: left @ right, device, clock)
    one, two, out = (torch.ones(1 << 23, device=device) for _ in range(3))
    rate = 3 * one.nbytes / _seconds(lambda: torch.add(one, two, out=out), device, clock)
    name = torch.cuda.get_device_name() if wide else "this CPU"
    product = _probe(flops, "FLOP/s", f"a {' x '.join(map(str, size))} product, just now")
    return Processor(
        name=name,
        memory_bytes=_probe(0.0, "B", "not probed"),
        layer_flops=product,
        head_flops=product,
        float32_flops=product,
        bytes_per_second=_probe(rate, "B/s", "an addition in memory, just now"),
        logit_seconds=_probe(12 / rate, "s", "as on an H100") if wide else HEAD_SECONDS_PER_LOGIT,
        activation_passes=4,
    )


def _probe(value: float, unit: str, source: str) -> Figure:
    return Figure(value=value, unit=unit, kind="measured", source=source)


def _seconds(work: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    """Seconds of the quickest of some calls: other programs only make them slower."""
    taken = []
    for _ in range(_ROUNDS):
        start = clock()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(clock() - start)
    return min(taken)
