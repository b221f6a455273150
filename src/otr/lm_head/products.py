"""The head's three matrix products: logits, hidden gradient, weight gradient.

Logits and sums over tokens are float32 (float64 for float64 inputs) whatever the inputs' dtype:
in bfloat16, logits between 16 and 32 have a step of 0.125, an error of up to 6 % in a probability.
The operands are as short as the hardware multiplies them well:

- on an accelerator, 16-bit inputs are multiplied in 16 bits, summed and answered in float32;
- on a CPU, logits of 16-bit inputs are made in float32, since PyTorch has no product there that
  takes 16 bits and answers 32; the two gradients are multiplied in 16 bits where a trial finds
  that clearly faster, and in float32 elsewhere.

Shapes: T tokens, R rows of a chunk, D width, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import torch
from torch import Tensor

from otr.lm_head.call import compute_dtype

_SLICE = 8192
"""Rows of the weight that are converted, or gathered, at once."""

_CLEARLY_FASTER = 1.3
"""What a trial must show for 16-bit products. Far from 1, and processors are far from it on one
side or the other, so that the choice, and with it the rounding, is the same in every run."""


@dataclass(frozen=True)
class Products:
    """The products of one head's call, for the dtypes and device of its inputs."""

    compute: torch.dtype
    """Of logits and of sums."""

    operand: torch.dtype
    """Of the logits' gradient as it enters products, and of what it is multiplied with."""

    fused: bool
    """Whether the device multiplies 16-bit operands into a float32 result."""

    @staticmethod
    def of(hidden_TD: Tensor, weight_VD: Tensor) -> "Products":
        """Those of a head with these inputs."""
        compute = compute_dtype(hidden_TD, weight_VD)
        short = next(
            (tensor.dtype for tensor in (hidden_TD, weight_VD) if tensor.dtype.itemsize == 2), None
        )
        if short is None or compute == torch.float64:
            return Products(compute, compute, fused=False)
        if hidden_TD.device.type == "cuda":
            return Products(compute, short, fused=True)
        both_short = hidden_TD.dtype == weight_VD.dtype == short
        native = both_short and hidden_TD.device.type == "cpu" and multiplies_well(short)
        return Products(compute, short if native else compute, fused=False)

    @property
    def bytes_per_logit(self) -> int:
        """Of a logit, and of its gradient where that does not take the logit's place."""
        own_place = self.operand != self.compute
        return self.compute.itemsize + (self.operand.itemsize if own_place else 0)

    def operand_weight(self, weight_VD: Tensor) -> Tensor:
        """The weight as the products take it: converted once on an accelerator, as autocast does;
        on a CPU as it is, to be converted a slice at a time."""
        return weight_VD.to(self.operand) if self.fused else weight_VD

    def write_logits(self, hidden_RD: Tensor, weight_VD: Tensor, out_RV: Tensor) -> None:
        """out = hidden weight^T."""
        if self.fused:
            hidden_RD = hidden_RD.to(self.operand)
            torch.mm(hidden_RD, weight_VD.T, out_dtype=self.compute, out=out_RV)
            return
        hidden_RD = hidden_RD.to(self.compute)
        size = len(weight_VD) if weight_VD.dtype == self.compute else _SLICE
        for part, columns in zip(weight_VD.split(size), out_RV.split(size, dim=1), strict=True):
            torch.mm(hidden_RD, part.to(self.compute).T, out=columns)

    def hidden_gradient(
        self, gradient_RV: Tensor, weight_VD: Tensor, columns: Tensor | None = None
    ) -> Tensor:
        """gradient weight, (R, D), over some columns of the gradient; None for all."""
        if columns is None and weight_VD.dtype == self.operand and not self._rounds_results:
            return self._product(gradient_RV, weight_VD)
        shape = len(gradient_RV), weight_VD.shape[1]
        out_RD = gradient_RV.new_zeros(shape, dtype=self.compute)
        for part in _parts(gradient_RV, columns):
            weight_SD = _picked(weight_VD, 0, part).to(self.operand)
            out_RD += self._product(_picked(gradient_RV, 1, part), weight_SD)
        return out_RD

    def add_weight_gradient(
        self,
        total_VD: Tensor,
        gradient_RV: Tensor,
        hidden_RD: Tensor,
        columns: Tensor | None = None,
    ) -> None:
        """total += gradient^T hidden, over some columns of the gradient; None for all."""
        hidden_RD = hidden_RD.to(self.operand)
        if columns is not None or self._rounds_results:
            for part in _parts(gradient_RV, columns):
                sums_SD = self._product(_picked(gradient_RV, 1, part).T, hidden_RD)
                if isinstance(part, slice):
                    total_VD[part] += sums_SD
                else:
                    total_VD.index_add_(0, part, sums_SD.to(total_VD.dtype))
        elif self.fused:
            torch.addmm(total_VD, gradient_RV.T, hidden_RD, out_dtype=self.compute, out=total_VD)
        else:
            total_VD.addmm_(gradient_RV.T, hidden_RD)

    @property
    def _rounds_results(self) -> bool:
        """Whether a product answers in 16 bits, so that sums are made of parts of it."""
        return self.operand != self.compute and not self.fused

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        if self.fused:
            return torch.mm(left, right, out_dtype=self.compute)
        return left @ right


def _parts(gradient_RV: Tensor, columns: Tensor | None) -> Iterator[slice | Tensor]:
    """Columns some thousands at a time, so that what is gathered or converted stays small."""
    if columns is not None:
        yield from columns.split(_SLICE)
        return
    for first in range(0, gradient_RV.shape[1], _SLICE):
        yield slice(first, first + _SLICE)


def _picked(matrix: Tensor, dim: int, part: slice | Tensor) -> Tensor:
    """A stretch of rows or columns as a view, or single ones as a copy."""
    if isinstance(part, slice):
        return matrix[part] if dim == 0 else matrix[:, part]
    return matrix.index_select(dim, part)


@lru_cache
def multiplies_well(dtype: torch.dtype) -> bool:
    """Whether this CPU multiplies matrices of a 16-bit dtype clearly faster than of float32."""
    seconds = {}
    for trial in (torch.float32, dtype):
        left, right = torch.ones(128, 512, dtype=trial), torch.ones(512, 512, dtype=trial)
        times = []
        for _ in range(5):
            start = perf_counter()
            torch.mm(left, right)
            times.append(perf_counter() - start)
        seconds[trial] = min(times[1:])
    return seconds[torch.float32] > _CLEARLY_FASTER * seconds[dtype]
