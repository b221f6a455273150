"""What is done to every logit of a chunk, whatever does it: the seam below the rows' arithmetic.

Two passes touch a whole chunk: one reads the logits for their sums, one turns them into their
gradient. Between them rollouts look at a few blocks of columns. `torch_passes` does this in plain
PyTorch anywhere, `triton_passes` on a GPU.

Shapes: R rows, V vocabulary, K rollouts, B blocks of columns, N single columns.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from otr.objectives import Needs


@dataclass(frozen=True)
class LogitTransform:
    """What a model does with its head's output x: z = softcap(scale x), softcap(x) = c tanh(x / c)."""

    scale: float = 1.0
    softcap: float | None = None

    def apply_(self, raw: Tensor) -> None:
        """z from x, in place."""
        if self.scale != 1.0:
            raw *= self.scale
        if self.softcap is not None:
            raw.div_(self.softcap).tanh_().mul_(self.softcap)

    def slope(self, logits: Tensor) -> Tensor | float:
        """dz/dx, from z."""
        if self.softcap is None:
            return self.scale
        return (1 - (logits / self.softcap).square_()).mul_(self.scale)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over the vocabulary of each row. Totals are of exp(z - top)."""

    top_R: Tensor
    """The largest logit."""

    log_total_R: Tensor
    """log sum_v exp(z_v - top)."""

    entropy_R: Tensor
    """H(pi)."""

    rollout_log_total_R: Tensor | None = None
    """log sum_v exp((z_v - top) / temperature)."""

    rollout_mean_R: Tensor | None = None
    """E_q[z - top]."""

    rollout_masses_RB: Tensor | None = None
    """sum of exp((z_v - top) / temperature) over each block of columns."""


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """dL/dx of each row, as coefficients of what its columns are made of.

    dL/dx_v = slope(z_v) (policy pi_v + entropy pi_v (log pi_v + H) - rollout q_v - uniform)
              - sum_n amount_n 1[v = column_n]
    """

    policy_R: Tensor
    entropy_R: Tensor | None
    rollout_R: Tensor | None
    uniform_R: Tensor | None
    columns_RN: Tensor
    amounts_RN: Tensor

    def times(self, factor_R: Tensor) -> "Gradient":
        """The gradient of each row's loss times a factor: it is linear in its coefficients, which
        are far fewer than the logits."""

        def scaled(value_R: Tensor | None) -> Tensor | None:
            return None if value_R is None else factor_R * value_R

        return Gradient(
            policy_R=factor_R * self.policy_R,
            entropy_R=scaled(self.entropy_R),
            rollout_R=scaled(self.rollout_R),
            uniform_R=scaled(self.uniform_R),
            columns_RN=self.columns_RN,
            amounts_RN=factor_R[:, None] * self.amounts_RN,
        )


class Passes(Protocol):
    """One way to do the passes. Logits are contiguous, float32 or float64."""

    def sums(
        self, logits_RV: Tensor, transform: LogitTransform, needs: Needs, masses: bool
    ) -> Sums:
        """Transform the head's raw output in place, and sum; `masses` asks for the blocks'."""
        ...

    def words(
        self,
        logits_RV: Tensor,
        labels_R: Tensor,
        keys_R: Tensor,
        label_prob_R: Tensor,
        sums: Sums,
        needs: Needs,
        seed: int,
    ) -> Tensor:
        """The word of each draw, (R, K); -1 for every miss where `sums` holds no masses."""
        ...

    def write_gradient(
        self,
        logits_RV: Tensor,
        out_RV: Tensor,
        gradient: Gradient,
        sums: Sums,
        transform: LogitTransform,
        temperature: float | None,
    ) -> None:
        """Write the gradient to `out_RV`, which may be the logits themselves."""
        ...
