"""Rollouts by a counter-based generator: the same words wherever a token is computed.

Every draw is a pure function of the seed, the token's key, the draw's index and the logits, and
of nothing else: not of the chunk, the order, the number of processes or the backend.

A draw is decided in two steps, each with random bits of its own. First, does it hit the label?
Only a draw that misses then looks for its word among the others: a block of columns by the
blocks' masses, then the word inside that block. Reusing the first number for the second step
would magnify its grid by 1 / (1 - q_y).

Shapes: R rows, V vocabulary, K rollouts, B blocks of `BLOCK` columns, C columns of a block, M draws
that missed.
"""

import torch
from torch import Tensor

BLOCK = 32
"""Columns summed at once. Short, since a draw that misses looks at every column of its block, and
so that float32 sums are right to about 1e-6."""

_HITS, _WORDS = 0, 1
_MASK = 0xFFFFFFFF
_DRAWS_AT_ONCE = 1 << 14


def philox(seed: int, counters: tuple[Tensor, Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Philox4x32-10: four random 32-bit words for every counter.

    The key is the low and high word of `seed`, taken modulo 2^64. Counters and results are
    int64 tensors of one shape (or broadcastable) that hold values below 2^32.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    a, b, c, d = counters
    key_low, key_high = seed & _MASK, (seed >> 32) & _MASK
    for _ in range(10):
        # The product wraps as two's complement, so its upper bits are right after the mask.
        product_a, product_c = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (
            ((product_c >> 32) & _MASK) ^ b ^ key_low,
            product_c & _MASK,
            ((product_a >> 32) & _MASK) ^ d ^ key_high,
            product_a & _MASK,
        )
        key_low, key_high = (key_low + 0x9E3779B9) & _MASK, (key_high + 0xBB67AE85) & _MASK
    return [a, b, c, d]


def hits(seed: int, keys_R: Tensor, label_prob_R: Tensor, num_rollouts: int) -> Tensor:
    """Which draws hit the label: each does so with probability `label_prob_R`.

    Shapes: keys (R,) int64, probabilities (R,); result (R, K) bool.
    """
    # Compared as integers: as float32, a probability of 1e-8 would have no number below it.
    threshold_R = (label_prob_R.double().nan_to_num() * 2.0**32).floor().long()
    rows_at_once = max(1, _DRAWS_AT_ONCE // num_rollouts)
    return torch.cat(
        [
            _bits(seed, keys, _HITS, num_rollouts) < threshold[:, None]
            for keys, threshold in zip(
                keys_R.split(rows_at_once), threshold_R.split(rows_at_once), strict=True
            )
        ]
    )


def _bits(seed: int, keys_R: Tensor, stream: int, count: int) -> Tensor:
    """The first `count` random 32-bit words of each key in a stream, (R, count)."""
    quads = torch.arange((count + 3) // 4, device=keys_R.device)
    counters = (
        quads[None, :],
        torch.full_like(quads, stream)[None, :],
        (keys_R & _MASK)[:, None],
        ((keys_R >> 32) & _MASK)[:, None],
    )
    return torch.stack(philox(seed, counters), dim=-1).flatten(1)[:, :count]


def block_masses(logits_RV: Tensor, top_R: Tensor, temperature: float) -> Tensor:
    """Unnormalised mass of the rollout policy in each block of columns.

    m_b = sum over v in block b of exp((z_v - top) / temperature)

    Shapes: logits (R, V), top (R,); result (R, B).
    """
    return block_sums(((logits_RV - top_R[:, None]) / temperature).exp_())


def block_sums(values_RC: Tensor) -> Tensor:
    """Sums over blocks of `BLOCK` columns, the last of which may be shorter, (R, B)."""
    missing = -values_RC.shape[1] % BLOCK
    if missing:
        values_RC = torch.nn.functional.pad(values_RC, (0, missing))
    return values_RC.unflatten(1, (-1, BLOCK)).sum(-1)


def missed_words(
    seed: int,
    keys_R: Tensor,
    hits_RK: Tensor,
    logits_RV: Tensor,
    labels_R: Tensor,
    top_R: Tensor,
    masses_RB: Tensor,
    temperature: float,
) -> Tensor:
    """The word of every draw; the label where the draw hits.

    A draw that misses follows the rollout policy with the label left out: one random number
    picks a block of columns by the blocks' masses, another a word inside that block.

    Shapes: as in `hits` and `block_masses`; result (R, K) int64.
    """
    num_rollouts, num_blocks = hits_RK.shape[1], masses_RB.shape[1]
    words_RK = labels_R[:, None].expand(hits_RK.shape).clone()
    missing = (~hits_RK).any(1).nonzero()[:, 0]
    if len(missing) == 0:
        return words_RK
    policy = _OthersPolicy(logits_RV, labels_R, top_R, temperature)
    for rows in missing.split(max(1, _DRAWS_AT_ONCE // num_rollouts)):
        bits_RK2 = _bits(seed, keys_R[rows], _WORDS, 2 * num_rollouts).unflatten(1, (-1, 2))
        share_RK2 = bits_RK2.double() * 2.0**-32
        # In float64, since the tail of a large vocabulary vanishes in a float32 running sum.
        running_RB = policy.without_label(rows, masses_RB[rows]).double().cumsum_(1)
        block_RK = _first_above(running_RB, share_RK2[..., 0] * running_RB[:, -1:])
        row_M, draw_M = (~hits_RK[rows]).nonzero(as_tuple=True)
        block_M = block_RK[row_M, draw_M]
        if num_blocks <= num_rollouts:
            # Draws outnumber blocks, so every block is summed once for all of them.
            every_row = torch.arange(len(rows), device=rows.device).repeat_interleave(num_blocks)
            every_block = torch.arange(num_blocks, device=rows.device).repeat(len(rows))
            running_PC = policy.masses(rows[every_row], every_block).double().cumsum_(1)
            running_MC = running_PC.index_select(0, row_M * num_blocks + block_M)
        else:
            running_MC = policy.masses(rows[row_M], block_M).double().cumsum_(1)
        point_M = share_RK2[row_M, draw_M, 1] * running_MC[:, -1]
        column_M = _first_above(running_MC, point_M[:, None])[:, 0]
        words_RK[rows[row_M], draw_M] = policy.first_column(block_M) + column_M
    return words_RK


def _first_above(running: Tensor, point: Tensor) -> Tensor:
    """The first entry of each row whose running sum passes a point."""
    index = torch.searchsorted(running, point, right=True)
    return index.clamp_(max=running.shape[-1] - 1)


class _OthersPolicy:
    """Masses of the rollout policy with the label left out, a block of columns at a time."""

    def __init__(
        self, logits_RV: Tensor, labels_R: Tensor, top_R: Tensor, temperature: float
    ) -> None:
        self._vocabulary = logits_RV.shape[1]
        self._width = min(BLOCK, self._vocabulary)
        # Every stretch of columns as a row of its own, without a copy.
        self._stretches = logits_RV.as_strided(
            (logits_RV.numel() - self._width + 1, self._width), (1, 1)
        )
        self._labels_R, self._top_R, self._temperature = labels_R, top_R, temperature

    def first_column(self, block_M: Tensor) -> Tensor:
        """Where a block's columns begin in `masses`; the last block ends with the vocabulary."""
        return (block_M * BLOCK).clamp(max=self._vocabulary - self._width)

    def masses(self, rows_M: Tensor, block_M: Tensor) -> Tensor:
        """exp((z_v - top) / temperature) of a block's columns, 0 at the label, (M, C)."""
        first_M = self.first_column(block_M)
        masses_MC = self._stretches.index_select(0, rows_M * self._vocabulary + first_M)
        masses_MC.sub_(self._top_R[rows_M, None]).div_(self._temperature).exp_()
        label_M = self._labels_R[rows_M] - first_M
        with_label = ((label_M >= 0) & (label_M < self._width)).nonzero()[:, 0]
        masses_MC[with_label, label_M[with_label]] = 0
        overlap_M = block_M * BLOCK - first_M
        overlapping = (overlap_M > 0).nonzero()[:, 0]
        columns = torch.arange(self._width, device=rows_M.device)
        masses_MC[overlapping] *= columns >= overlap_M[overlapping, None]
        return masses_MC

    def without_label(self, rows: Tensor, masses_RB: Tensor) -> Tensor:
        """Masses of all blocks, that of the label's block summed anew without it."""
        block_R = self._labels_R[rows] // BLOCK
        rest_R = self.masses(rows, block_R).sum(1)
        return masses_RB.scatter(1, block_R[:, None], rest_R[:, None])
