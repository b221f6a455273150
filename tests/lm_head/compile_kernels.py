"""Compile every Triton kernel for a Hopper GPU, with the arguments it is launched with, on a
machine that may have none. Run by itself, since in the tests' own process kernels are interpreted.

Prints the kernels' names.
"""

from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from otr.lm_head import triton_passes
from otr.lm_head.passes import Gradient, LogitTransform
from otr.objectives import Needs


class Hopper:
    """What the compiler asks of a driver."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def passes(dtype: torch.dtype, out: torch.dtype, vocabulary: int, plain: bool) -> None:
    """All passes over two rows: `plain` is the simplest objective, else one with every part."""
    rows, draws = 2, 0 if plain else 256
    logits = torch.empty(rows, vocabulary, dtype=dtype)
    transform = LogitTransform(scale=1.0, softcap=None if plain else 30.0)
    needs = Needs(temperature=None if plain else 1.3, num_rollouts=draws)
    sums = triton_passes.sums(logits, transform, needs, not plain)
    labels, of_row = torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, dtype=dtype)
    if draws:
        triton_passes.words(logits, labels, labels, of_row, sums, needs, 7)
    gradient = Gradient(
        policy_R=of_row,
        entropy_R=None if plain else of_row,
        rollout_R=None if plain else of_row,
        uniform_R=None if plain else of_row,
        columns_RN=torch.zeros(rows, draws + 1, dtype=torch.int64),
        amounts_RN=torch.zeros(rows, draws + 1, dtype=dtype),
    )
    triton_passes.write_gradient(
        logits, torch.empty_like(logits, dtype=out), gradient, sums, transform, needs.temperature
    )


def main() -> None:
    driver.set_active(Hopper())  # type: ignore[arg-type]
    run = JITFunction.run

    def only_compile(self: JITFunction, *arguments: Any, grid: Any, **options: Any) -> None:
        kernel = run(self, *arguments, grid=grid, **(options | {"warmup": True}))
        assert kernel is not None and kernel.asm["ptx"]
        print(self.fn.__name__)

    JITFunction.run = only_compile
    passes(torch.float32, torch.bfloat16, 151_936, plain=True)
    passes(torch.float32, torch.bfloat16, 151_936, plain=False)
    passes(torch.float32, torch.float16, 50_257, plain=False)
    passes(torch.float64, torch.float64, 20, plain=False)


if __name__ == "__main__":
    main()
