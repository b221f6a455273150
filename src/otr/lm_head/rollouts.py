"""Rollouts by a counter-based generator: the same words wherever a token is computed.

Every draw is a pure function of the seed, the token's key, the draw's index and the logits, and
of nothing else: not of the chunk, the order, the number of processes or the backend.

A draw is decided in two steps, each with random bits of its own. First, does it hit the label?
Only a draw that misses then looks for its word among the others: a block of columns by the
blocks' masses, then the word inside that block. Reusing the first number for the second step
would magnify its grid by 1 / (1 - q_y).

Shapes: R rows, V vocabulary, K rollouts, B blocks of `BLOCK` columns, M draws that missed, P pairs
of a row and a block.
"""

import torch
from torch import Tensor

BLOCK = 128
"""Columns summed at once: short enough for float32 sums that are right to about 1e-6."""

_HITS, _WORDS = 0, 1
_MASK = 0xFFFFFFFF
_SLICE = 1 << 15


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
    quads = torch.arange((num_rollouts + 3) // 4, device=keys_R.device)
    words = philox(
        seed,
        (
            quads[None, :],
            torch.full_like(quads, _HITS)[None, :],
            (keys_R & _MASK)[:, None],
            ((keys_R >> 32) & _MASK)[:, None],
        ),
    )
    words_RK = torch.stack(words, dim=-1).flatten(1)[:, :num_rollouts]
    # Compared as integers: as float32, a probability of 1e-8 would have no number below it.
    threshold_R = (label_prob_R.double().nan_to_num() * 2.0**32).floor().long()
    return words_RK < threshold_R[:, None]


def block_masses(logits_RV: Tensor, labels_R: Tensor, top_R: Tensor, temperature: float) -> Tensor:
    """Unnormalised mass of the rollout policy in each block of columns, the label left out.

    m_b = sum over v in block b, v != y, of exp((z_v - top) / temperature)

    Shapes: logits (R, V), labels (R,), top (R,); result (R, B).
    """
    rows, vocabulary = logits_RV.shape
    num_blocks = -(-vocabulary // BLOCK)
    masses_RB = logits_RV.new_empty(rows, num_blocks)
    blocks_at_once = 32
    for first in range(0, num_blocks, blocks_at_once):
        start, stop = first * BLOCK, min((first + blocks_at_once) * BLOCK, vocabulary)
        masses = logits_RV[:, start:stop].sub(top_R[:, None]).div_(temperature).exp_()
        inside = (labels_R >= start) & (labels_R < stop)
        column = (labels_R - start).clamp(0, stop - start - 1)[:, None]
        masses.scatter_(1, column, masses.gather(1, column).masked_fill(inside[:, None], 0))
        masses = torch.nn.functional.pad(masses, (0, -(stop - start) % BLOCK))
        last = min(first + blocks_at_once, num_blocks)
        masses_RB[:, first:last] = masses.unflatten(1, (-1, BLOCK)).sum(-1)
    return masses_RB


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

    A draw that misses follows the rollout policy with the label left out.

    Shapes: as in `hits` and `block_masses`; result (R, K) int64.
    """
    words_RK = labels_R[:, None].expand(hits_RK.shape).clone()
    # In float64, since the tail of a large vocabulary vanishes in a float32 running sum.
    running_RB = masses_RB.double().cumsum(1)
    num_blocks = masses_RB.shape[1]
    rows_M, draws_M = (~hits_RK).nonzero(as_tuple=True)
    for rows, draws in zip(rows_M.split(_SLICE), draws_M.split(_SLICE), strict=True):
        keys = keys_R[rows]
        bits = philox(
            seed, (draws, torch.full_like(draws, _WORDS), keys & _MASK, (keys >> 32) & _MASK)
        )
        block = _pick(running_RB[rows], bits[0])
        # Many draws of a token fall into the same few blocks; each is summed once.
        pairs, pair_of_draw = (rows * num_blocks + block).unique(return_inverse=True)
        pair_rows, pair_blocks = pairs // num_blocks, pairs % num_blocks
        columns = pair_blocks[:, None] * BLOCK + torch.arange(BLOCK, device=rows.device)
        beyond = columns >= logits_RV.shape[1]
        columns.clamp_(max=logits_RV.shape[1] - 1)
        masses = logits_RV[pair_rows[:, None], columns] - top_R[pair_rows, None]
        masses.div_(temperature).exp_()
        masses.masked_fill_(beyond | (columns == labels_R[pair_rows, None]), 0)
        column = _pick_within_block(masses.double().cumsum(1), pair_of_draw, bits[1])
        words_RK[rows, draws] = columns[pair_of_draw, column]
    return words_RK


def _pick(running_MN: Tensor, bits_M: Tensor) -> Tensor:
    """The first entry whose running sum passes a random point of the total."""
    point_M = bits_M.double() * 2.0**-32 * running_MN[:, -1]
    index_M = torch.searchsorted(running_MN, point_M[:, None], right=True)[:, 0]
    return index_M.clamp_(max=running_MN.shape[1] - 1)


def _pick_within_block(running_PN: Tensor, pair_of_draw_M: Tensor, bits_M: Tensor) -> Tensor:
    """`_pick` in rows that several draws share, by bisection."""
    point_M = bits_M.double() * 2.0**-32 * running_PN[pair_of_draw_M, -1]
    index_M = torch.zeros_like(pair_of_draw_M)
    step = BLOCK // 2
    while step:
        passed = running_PN[pair_of_draw_M, index_M + step - 1] <= point_M
        index_M += step * passed
        step //= 2
    return index_M
