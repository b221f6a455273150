"""Rows and columns of the logits' gradient that are too small to matter stay out of the products.

Most tokens of a trained model have a tiny gradient, and most words are hardly touched by any token
of a chunk. With f the share of a chunk's entries in the rows and columns that are kept, three
products of equal cost become 1 + 2 f. What is left out is bounded, and at the end the bound is
checked against what was kept; if it does not hold, the call is repeated in full. With g_iv the
gradient of a logit, h_i a token's hidden state, w_v a row of the weight, and the sums running over
the entries left out:

    |error of the weight gradient|_F       <=  ( sum_v ( sum_i |g_iv| |h_i| )^2 )^1/2
    |error of the hidden gradient|_F       <=  ( sum_i ( sum_v |g_iv| |w_v| )^2 )^1/2
    |error of token i's hidden gradient|   <=  sum_v |g_iv| |w_v|

`docs/theory.md` has the proofs, and why the sums must not be replaced by a threshold on entries.

Shapes: R rows of a chunk, D width, V vocabulary, C columns at once, S cuts, M directions.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_COLUMNS = 4096

_ROW_SLABS = 32
"""Rows are left out in slabs of this share of a chunk."""

_KEPT_COLUMNS = tuple(0.85**step for step in range(1, 33))
"""Shares of the vocabulary to which columns can be cut."""

_DIRECTIONS = 4
"""Random directions along which the gradients' norms are estimated while the choice is made."""

_HIDDEN_ALLOWANCE = 4
"""How much larger a relative error the hidden gradient may have by its bound, which is about so much
looser than the weight's: the errors it adds up point in all directions."""

_CAUTION = 0.7
"""Share of the bound that is spent, since the norms are estimates."""

_OF_ROWS = 0.5
"""Share of that which rows may use before columns."""

_ROUNDING = 1.01
"""Factor on the bounds for the sums that they are made of: float32, but a caller may have torch round
the operands of float32 products to TF32 or bfloat16, of 11 and 8 bits."""

_WORTHWHILE = 0.9
"""A chunk that keeps more than this share of its entries ends the search for the whole call."""

_SAMPLE = 64
"""Rows of the first chunk on which the choice is tried, at the price of so few."""


@dataclass(frozen=True)
class Kept:
    """What of a chunk enters the products: its gradient's first rows, their hidden states and
    tokens, and columns of the gradient; None for all."""

    gradient_RV: Tensor
    hidden_RD: Tensor
    index_R: Tensor
    columns: Tensor | None


class Compaction:
    """The choice in one call of a head, and the certificate that it was right."""

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
        self._lengths_V = _lengths(weight_VD)
        self._directions_DM = _directions(weight_VD.shape[1], self._lengths_V)
        self._weight_VM = _product(weight_VD, self._directions_DM)
        self._forget()

    def _forget(self) -> None:
        """As before the first chunk."""
        # What was left out so far: sum_i |g_iv| |h_i| of each word, sum_i (sum_v |g_iv| |w_v|)^2.
        self._left_out_V = torch.zeros_like(self._lengths_V)
        self._left_out_square = self._lengths_V.new_zeros(())
        # Both gradients so far, each along the directions; of the hidden one only the size.
        self._weight_gradient_MV = torch.zeros_like(self._weight_VM.T.contiguous())
        self._hidden_gradient_square = self._lengths_V.new_zeros(())
        self._num_seen, self._num_kept, self._worthwhile = 0, 0, True

    def kept(self, gradient_RV: Tensor, hidden_RD: Tensor, index_R: Tensor) -> Kept:
        """What of a chunk must enter the products. Kept rows are moved to the front of
        `gradient_RV` in place, in any order. Waits for the device a few times."""
        num_rows, vocabulary = gradient_RV.shape
        columns = None
        if self._num_kept == 0 and num_rows >= 4 * _SAMPLE:
            self._worthwhile = self._is_promising(gradient_RV, hidden_RD, index_R)
        if self._worthwhile:
            lengths_R = _lengths(hidden_RD)
            budget = self._budget(gradient_RV, hidden_RD, lengths_R)
            by_word_V = budget.by_word_V
            if budget.may_leave_out_rows():
                kept_R, by_word_V = self._choose_rows(gradient_RV, lengths_R, budget)
                if len(kept_R) < num_rows:
                    order = _moved_to_front(gradient_RV, kept_R)
                    gradient_RV = gradient_RV[: len(order)]
                    hidden_RD, index_R = hidden_RD[order], index_R[order]
            columns = self._choose_columns(gradient_RV, by_word_V, budget)
        num_columns = vocabulary if columns is None else len(columns)
        num_kept = len(index_R) * num_columns
        self._num_kept += num_kept
        self._worthwhile &= num_kept <= _WORTHWHILE * num_rows * vocabulary
        return Kept(gradient_RV, hidden_RD, index_R, columns)

    def _is_promising(self, gradient_RV: Tensor, hidden_RD: Tensor, index_R: Tensor) -> bool:
        """Whether enough could be left out of some of the rows alone."""
        some = slice(None, None, len(index_R) // _SAMPLE)
        trial = copy.copy(self)
        trial._forget()
        trial._num_rows = len(index_R[some])
        trial.kept(gradient_RV[some].clone(), hidden_RD[some], index_R[some])
        return trial._worthwhile

    def holds(self, hidden_gradient: Tensor | None, weight_gradient: Tensor | None) -> bool:
        """Whether the errors are within the bound of the whole gradients, of which the kept
        parts are given: |error| <= bound (|kept| - |error|)."""
        return _holds(
            hidden_gradient, self._left_out_square.sqrt(), _HIDDEN_ALLOWANCE * self._bound
        ) and _holds(weight_gradient, torch.linalg.vector_norm(self._left_out_V), self._bound)

    def kept_fraction(self) -> Tensor:
        """Share of all logits whose gradient entered the products."""
        return torch.tensor(self._num_kept / max(self._num_rows * len(self._lengths_V), 1))

    def _budget(self, gradient_RV: Tensor, hidden_RD: Tensor, lengths_R: Tensor) -> "_Budget":
        """What may be left out by the end of this chunk: its share of the bound times the whole
        gradients' norms, estimated from a few directions; `holds` has the last word.

        For independent random signs r in each of M directions, E |A r|^2 = |A|_F^2. The tokens to
        come are taken to add as orthogonal ones would.
        """
        squares_R, reach_R = torch.zeros_like(lengths_R), torch.zeros_like(lengths_R)
        by_word = []
        hidden_MR = _product(hidden_RD, self._directions_DM).T.contiguous()
        hidden_gradient_RM = lengths_R.new_zeros(len(lengths_R), _DIRECTIONS)
        for columns_RC, sizes_RC, lengths_C, weight_CM, weight_gradient_MC in zip(
            gradient_RV.split(_COLUMNS, dim=1),
            _sizes(gradient_RV, lengths_R.dtype),
            self._lengths_V.split(_COLUMNS),
            self._weight_VM.split(_COLUMNS),
            self._weight_gradient_MV.split(_COLUMNS, dim=1),
            strict=True,
        ):
            signed_RC = columns_RC.to(lengths_R.dtype)
            hidden_gradient_RM += signed_RC @ weight_CM
            weight_gradient_MC += hidden_MR @ signed_RC
            reach_R += sizes_RC @ lengths_C
            by_word.append(lengths_R @ sizes_RC)
            squares_R += _lengths(columns_RC).square_()
        self._num_seen += len(gradient_RV)
        self._hidden_gradient_square = (
            self._hidden_gradient_square + hidden_gradient_RM.square().sum()
        )
        factor = _CAUTION * self._bound * (self._num_seen / self._num_rows / _DIRECTIONS) ** 0.5
        of_weight = factor * torch.linalg.vector_norm(self._weight_gradient_MV)
        return _Budget(
            of_weight=of_weight if self._of_weight else None,
            of_hidden=_HIDDEN_ALLOWANCE * factor * self._hidden_gradient_square.sqrt()
            if self._of_hidden
            else None,
            sizes_R=squares_R.sqrt() * lengths_R if self._of_weight else reach_R,
            reach_R=reach_R,
            by_word_V=torch.cat(by_word),
        )

    def _choose_rows(
        self, gradient_RV: Tensor, lengths_R: Tensor, budget: "_Budget"
    ) -> tuple[Tensor, Tensor]:
        """Rows to keep, and sum_i |g_iv| |h_i| over them; the smallest others are added to what
        is left out."""
        order_R = budget.sizes_R.argsort()
        slab_size = -(-len(order_R) // _ROW_SLABS)
        slab_R = torch.arange(len(order_R), device=order_R.device) // slab_size
        member_SR = lengths_R.new_zeros(_ROW_SLABS, len(order_R))
        member_SR[slab_R, order_R] = lengths_R[order_R]
        slabs = [member_SR @ sizes_RC for sizes_RC in _sizes(gradient_RV, lengths_R.dtype)]
        slabs_SV = torch.cat(slabs, 1)
        squares_S = lengths_R.new_zeros(_ROW_SLABS)
        squares_S.index_add_(0, slab_R, budget.reach_R[order_R].square())
        squares_S.cumsum_(0).add_(self._left_out_square)
        left_out_V, errors = self._left_out_V.clone(), []
        for slab_V in slabs_SV:
            left_out_V += slab_V
            errors.append(torch.linalg.vector_norm(left_out_V))
        num_slabs = budget.num_allowed(torch.stack(errors), squares_S.sqrt(), _OF_ROWS)
        if num_slabs:
            self._left_out_V = self._left_out_V + slabs_SV[:num_slabs].sum(0)
            self._left_out_square = squares_S[num_slabs - 1]
        return order_R[num_slabs * slab_size :], slabs_SV[num_slabs:].sum(0)

    def _choose_columns(
        self, gradient_RV: Tensor, by_word_V: Tensor, budget: "_Budget"
    ) -> Tensor | None:
        """Columns to keep, None for all; the cheapest others are added to what is left out."""
        after_V = self._left_out_V + by_word_V
        before_square = self._left_out_V.square().sum()
        price_V = by_word_V * self._lengths_V
        if self._of_weight:
            price_V = after_V.square() - self._left_out_V.square()
        order_V = price_V.argsort(descending=True)
        rank_V = torch.empty_like(order_V)
        rank_V[order_V] = torch.arange(len(order_V), device=order_V.device)

        num_kept = [int(share * len(order_V)) for share in _KEPT_COLUMNS]
        num_kept_S = torch.tensor(num_kept, device=order_V.device)
        reach_RS = by_word_V.new_zeros(len(gradient_RV), len(num_kept))
        for sizes_RC, rank_C, lengths_C in zip(
            _sizes(gradient_RV, by_word_V.dtype),
            rank_V.split(_COLUMNS),
            self._lengths_V.split(_COLUMNS),
            strict=True,
        ):
            reach_RS += sizes_RC @ ((rank_C[:, None] >= num_kept_S) * lengths_C[:, None])
        squares_S = self._left_out_square + reach_RS.square().sum(0)
        tail_V = price_V[order_V].double().flip(0).cumsum(0).flip(0)
        errors_S = (before_square + tail_V[num_kept_S].to(before_square)).sqrt()
        num_cuts = budget.num_allowed(errors_S, squares_S.sqrt(), 1.0)
        if num_cuts == 0:
            return None
        self._left_out_V = after_V.where(rank_V >= num_kept_S[num_cuts - 1], self._left_out_V)
        self._left_out_square = squares_S[num_cuts - 1]
        return order_V[: num_kept[num_cuts - 1]].sort().values


@dataclass(frozen=True)
class _Budget:
    """What may be left out by the end of a chunk, and how much each of its rows and words is."""

    of_weight: Tensor | None
    of_hidden: Tensor | None
    sizes_R: Tensor
    """|g_i| |h_i|, or `reach_R` where the weight's gradient is not wanted."""
    reach_R: Tensor
    """sum_v |g_iv| |w_v|."""
    by_word_V: Tensor
    """sum_i |g_iv| |h_i|."""

    def may_leave_out_rows(self) -> bool:
        """Whether the smallest slab of rows could fit: the bound on what it is in the weight's
        gradient is at least the root of its squared sizes' sum."""
        if self.of_weight is None:
            return True
        slab_size = -(-len(self.sizes_R) // _ROW_SLABS)
        smallest = self.sizes_R.topk(slab_size, largest=False).values
        return bool(torch.linalg.vector_norm(smallest) <= _OF_ROWS * self.of_weight)

    def num_allowed(self, weight_errors_S: Tensor, hidden_errors_S: Tensor, share: float) -> int:
        """How many of the cuts, from the mildest on, stay within a share of the budget."""
        allowed_S = torch.ones_like(hidden_errors_S, dtype=torch.bool)
        if self.of_weight is not None:
            allowed_S &= weight_errors_S <= share * self.of_weight
        if self.of_hidden is not None:
            allowed_S &= hidden_errors_S <= share * self.of_hidden
        return int(allowed_S.int().cumprod(0).sum())


def _holds(kept: Tensor | None, error: Tensor, bound: float) -> bool:
    if kept is None:
        return True
    return bool(_ROUNDING * error * (1 + bound) <= bound * torch.linalg.vector_norm(kept))


def _sizes(gradient_RV: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Absolute values of some columns at a time, in scratch that is reused."""
    scratch = gradient_RV.new_empty(
        len(gradient_RV), min(_COLUMNS, gradient_RV.shape[1]), dtype=dtype
    )
    for columns_RC in gradient_RV.split(_COLUMNS, dim=1):
        sizes_RC = scratch[:, : columns_RC.shape[1]]
        if columns_RC.dtype == dtype:
            torch.abs(columns_RC, out=sizes_RC)
        else:
            sizes_RC.copy_(columns_RC).abs_()
        yield sizes_RC


def _lengths(rows: Tensor) -> Tensor:
    """The length of each row, in float32 or better."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    return torch.linalg.vector_norm(rows, dim=1, dtype=dtype)


def _product(rows: Tensor, directions_DM: Tensor) -> Tensor:
    """rows directions in the directions' dtype, some rows at a time."""
    return torch.cat(
        [part.to(directions_DM.dtype) @ directions_DM for part in rows.split(_COLUMNS)]
    )


def _directions(width: int, like: Tensor) -> Tensor:
    """Columns of random signs, the same in every call, (D, M)."""
    generator = torch.Generator().manual_seed(width)
    signs_DM = torch.randint(0, 2, (width, _DIRECTIONS), generator=generator) * 2 - 1
    return signs_DM.to(like)


def _moved_to_front(gradient_RV: Tensor, kept_R: Tensor) -> Tensor:
    """Fill the places of rows left out among the first with kept rows from behind them.

    Returns: which rows the first ones now are.
    """
    num_kept = len(kept_R)
    order = torch.arange(len(gradient_RV), device=kept_R.device)
    is_kept = torch.zeros_like(order, dtype=torch.bool)
    is_kept[kept_R] = True
    holes = (~is_kept[:num_kept]).nonzero()[:, 0]
    fillers = kept_R[kept_R >= num_kept]
    for columns_RC in gradient_RV.split(_COLUMNS, dim=1):
        columns_RC[holes] = columns_RC[fillers]
    order[holes] = fillers
    return order[:num_kept]
