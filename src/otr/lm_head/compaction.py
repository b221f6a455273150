"""Rows whose gradient is too small to matter are left out of the last two products.

Most tokens of a trained model have a tiny gradient. With f the share of rows that are kept, three
products become 1 + 2 f. What is left out is bounded, and the bound is checked against what was
kept; if it does not hold, the rows are added after all. With g_i the gradient of row i's logits,
h_i its hidden state and w_v a row of the weight, the sums running over the rows left out:

    |error of the weight gradient|_F  <= | sum_i |h_i| |g_i| |_2              (a vector over V)
    |error of the hidden gradient|_F  <= max_v |w_v| (sum_i |g_i|_1^2)^1/2
    |error of token i's hidden gradient|_2  <= max_v |w_v| |g_i|_1

The first is at most the sum of |g_i| |h_i|, and far below it where the rows have different
labels. `docs/theory.md` has the proofs.

Shapes: R rows of a chunk, D width, V vocabulary, S slabs of rows, C columns at once.
"""

import torch
from torch import Tensor

_SLABS = 32
"""Into how many slabs the rows of a chunk are cut; the choice is made slab by slab."""

_COLUMNS = 8192

_CAUTION = 0.5
"""Share of the bound that is spent, since the final norms are only estimated while rows are
chosen: rows that cancel leave less to compare with."""

_ROUNDING = 1.001
"""Factor on the bounds for the float32 sums that they are made of."""

_WORTHWHILE = 0.9
"""Where a chunk keeps more than this share of its rows, the search ends for the whole call."""


class Compaction:
    """The choice of rows in one call of a head, and the certificate that it was right."""

    def __init__(
        self,
        bound: float,
        num_rows: int,
        weight_VD: Tensor,
        *,
        hidden_gradient: bool,
        weight_gradient: bool,
    ) -> None:
        """Bound the relative errors of the wanted gradients of `num_rows` rows, in the Frobenius
        norm."""
        self._bound, self._num_rows = bound, num_rows
        self._of_hidden, self._of_weight = hidden_gradient, weight_gradient
        squares_V = torch.linalg.vector_norm(weight_VD, dim=1, dtype=torch.float32).square()
        self._largest_square, self._mean_square = squares_V.max(), squares_V.mean()
        self._left_out_V = torch.zeros_like(squares_V)
        self._left_out_square = self._weight_square = self._hidden_square = squares_V.new_zeros(())
        self._num_seen, self._worthwhile = 0, True
        self._left_out: list[Tensor] = []

    def compacted(
        self, gradient_RV: Tensor, hidden_RD: Tensor, index_R: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of a chunk that must enter the products, in any order; the gradient's are
        moved to the front in place. Waits for the device once."""
        if not self._worthwhile:
            return gradient_RV, hidden_RD, index_R
        kept_R, left_out_R = self._choice(gradient_RV, hidden_RD)
        self._worthwhile = len(kept_R) <= _WORTHWHILE * len(index_R)
        if len(left_out_R) == 0:
            return gradient_RV, hidden_RD, index_R
        self._left_out.append(index_R[left_out_R])
        kept_R = _moved_to_front(gradient_RV, kept_R, left_out_R)
        return gradient_RV[: len(kept_R)], hidden_RD[kept_R], index_R[kept_R]

    def _choice(self, gradient_RV: Tensor, hidden_RD: Tensor) -> tuple[Tensor, Tensor]:
        """Rows to keep and to leave out."""
        lengths_R = torch.linalg.vector_norm(hidden_RD, dim=1, dtype=torch.float32)
        sizes_R = torch.linalg.vector_norm(gradient_RV, dim=1, dtype=torch.float32)
        sums_R = torch.linalg.vector_norm(gradient_RV, ord=1, dim=1, dtype=torch.float32)
        self._num_seen += len(gradient_RV)
        share = self._num_seen / self._num_rows
        # As if the rows' gradients were orthogonal; `holds` has the last word.
        self._weight_square = self._weight_square + (sizes_R * lengths_R).square().sum()
        self._hidden_square = self._hidden_square + sizes_R.square().sum() * self._mean_square
        budget = _CAUTION * self._bound * share**0.5

        order_R = (sizes_R * lengths_R if self._of_weight else sums_R).argsort()
        slab_size = -(-len(gradient_RV) // _SLABS)
        slab_R = torch.arange(len(order_R), device=order_R.device) // slab_size
        left_out_SV = self._left_out_V + _slab_sums(gradient_RV, lengths_R, order_R, slab_R)
        squares_R = sums_R.square() * self._largest_square
        slab_squares_S = squares_R.new_zeros(_SLABS).index_add_(0, slab_R, squares_R[order_R])
        left_out_square_S = self._left_out_square + slab_squares_S.cumsum(0)
        allowed_S = torch.ones_like(left_out_square_S, dtype=torch.bool)
        if self._of_hidden:
            allowed_S &= left_out_square_S.sqrt() <= budget * self._hidden_square.sqrt()
        if self._of_weight:
            left_out_S = torch.linalg.vector_norm(left_out_SV, dim=1)
            allowed_S &= left_out_S <= budget * self._weight_square.sqrt()
        num_slabs = int(allowed_S.int().cumprod(0).sum())
        if num_slabs:
            self._left_out_V = left_out_SV[num_slabs - 1]
            self._left_out_square = left_out_square_S[num_slabs - 1]
        first_kept = num_slabs * slab_size
        return order_R[first_kept:], order_R[:first_kept]

    def holds(self, hidden_gradient: Tensor | None, weight_gradient: Tensor | None) -> bool:
        """Whether the errors are within the bound of the whole gradients, of which the kept
        parts are given: |error| <= bound (|kept| - |error|)."""
        if not self._left_out:
            return True
        errors = [
            (hidden_gradient, self._left_out_square.sqrt()),
            (weight_gradient, torch.linalg.vector_norm(self._left_out_V)),
        ]
        return all(
            bool(_ROUNDING * error * (1 + self._bound) <= self._bound * _norm(kept))
            for kept, error in errors
            if kept is not None
        )

    def take_back(self) -> Tensor:
        """The tokens that were left out, which now no longer are."""
        tokens = torch.cat(self._left_out).sort().values
        self._left_out = []
        return tokens

    def kept_fraction(self) -> Tensor:
        """Share of all rows that entered the products."""
        num_left_out = sum(len(tokens) for tokens in self._left_out)
        return torch.tensor(1 - num_left_out / max(self._num_rows, 1))


def _moved_to_front(gradient_RV: Tensor, kept_R: Tensor, left_out_R: Tensor) -> Tensor:
    """Fill the places of rows left out among the first with kept rows from behind them.

    Returns: which rows the first ones now are.
    """
    rows = torch.arange(len(gradient_RV), device=kept_R.device)
    front = len(kept_R)
    holes = left_out_R[left_out_R < front]
    fillers = kept_R[kept_R >= front]
    for columns_RC in gradient_RV.split(_COLUMNS, dim=1):
        columns_RC[holes] = columns_RC[fillers]
    rows[holes] = fillers
    return rows[:front]


def _slab_sums(gradient_RV: Tensor, lengths_R: Tensor, order_R: Tensor, slab_R: Tensor) -> Tensor:
    """sum_i |h_i| |g_iv| over the rows of the first slabs: running sums over slabs, (S, V)."""
    member_SR = lengths_R.new_zeros(_SLABS, len(order_R))
    member_SR[slab_R, order_R] = lengths_R[order_R]
    parts = [
        member_SR @ columns_RC.abs().to(member_SR.dtype)
        for columns_RC in gradient_RV.split(_COLUMNS, dim=1)
    ]
    return torch.cat(parts, 1).cumsum(0)


def _norm(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor, dtype=torch.float32)
