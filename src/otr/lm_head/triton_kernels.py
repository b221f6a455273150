"""The Triton kernels of `triton_passes`.

Every kernel has a one-dimensional grid: programs of one row stand next to each other, so that
neighbours read neighbouring memory. What one thread writes is read by the next kernel, never by
another thread of the same, and nothing is added atomically: two runs agree to the bit. Row numbers
are made int64 before they are multiplied, since row times vocabulary passes 2^31. Arithmetic is in
the logits' dtype, float32 or float64.

Numbers that stay the same through a training run are compile-time constants, in capitals: so they
keep their full precision in float64, and what does not apply costs nothing.

Shapes: R rows, V vocabulary, S stretches of `BLOCKS` blocks, B blocks of `BLOCK` columns, K
rollouts, N single columns. A pointer is named like its tensor; None where there is no such tensor.
"""

# Triton's own annotations do not know that constants are given as numbers.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl


@triton.jit
def stretch_sums(
    logits_RV, top_RS, total_RS, weighted_RS, rollout_total_RS, rollout_weighted_RS, masses_RB,
    vocabulary,
    SCALE: tl.constexpr, SOFTCAP: tl.constexpr, TEMPERATURE: tl.constexpr, BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):  # fmt: skip
    """Transform one stretch of a row in place, and sum it relative to its own maximum.

    One program a stretch, which it holds whole, so that every logit is read once.
    """
    num_stretches = tl.cdiv(vocabulary, BLOCKS * BLOCK)
    program = tl.program_id(0)
    row = (program // num_stretches).to(tl.int64)
    blocks = program % num_stretches * BLOCKS + tl.arange(0, BLOCKS)
    columns = blocks[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = columns < vocabulary
    pointers = logits_RV + row * vocabulary + columns
    logits = tl.load(pointers, mask=inside, other=0.0)
    if SCALE != 1.0 or SOFTCAP is not None:
        logits = logits * SCALE
        if SOFTCAP is not None:
            logits = _tanh(logits * (1.0 / SOFTCAP)) * SOFTCAP
        tl.store(pointers, logits, mask=inside)
    logits = tl.where(inside, logits, float("-inf"))
    top = tl.max(tl.max(logits, 1), 0)
    # A stretch of nothing but -inf sums to 0, not to NaN.
    shifted = logits - tl.where(top == float("-inf"), 0.0, top)
    exponential = tl.exp(shifted)
    tl.store(top_RS + program, top)
    tl.store(total_RS + program, _sum(exponential))
    tl.store(weighted_RS + program, _sum(_weighted(exponential, shifted)))
    if TEMPERATURE is not None:
        if TEMPERATURE != 1.0:
            exponential = tl.exp(shifted * (1.0 / TEMPERATURE))
        masses = tl.sum(exponential, 1)
        tl.store(rollout_total_RS + program, tl.sum(masses, 0))
        tl.store(rollout_weighted_RS + program, _sum(_weighted(exponential, shifted)))
        if masses_RB is not None:
            num_blocks = tl.cdiv(vocabulary, BLOCK)
            tl.store(masses_RB + row * num_blocks + blocks, masses, mask=blocks < num_blocks)


@triton.jit
def row_sums(
    top_RS, total_RS, weighted_RS, rollout_total_RS, rollout_weighted_RS, masses_RB, top_R,
    log_total_R, entropy_R, rollout_log_total_R, rollout_mean_R, num_stretches, num_blocks,
    TEMPERATURE: tl.constexpr, BLOCKS: tl.constexpr, STRETCHES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Put the stretches of a row together, relative to the row's maximum; one program a row.

    The blocks' masses are rescaled in place, each by the thread that read it.
    """
    row = tl.program_id(0).to(tl.int64)
    stretches = tl.arange(0, STRETCHES)
    inside = stretches < num_stretches
    places = row * num_stretches + stretches
    tops = tl.load(top_RS + places, mask=inside, other=float("-inf"))
    top = tl.max(tops, 0)
    empty = tops == float("-inf")
    offset = tl.where(empty, 0.0, tops - top)
    factor = tl.where(empty, 0.0, tl.exp(offset))
    part = tl.load(total_RS + places, mask=inside, other=0.0)
    weighted_part = tl.load(weighted_RS + places, mask=inside, other=0.0)
    total = tl.sum(factor * part, 0)
    weighted = tl.sum(factor * (weighted_part + part * offset), 0)
    log_total = tl.log(total)
    entropy = log_total - weighted / total
    tl.store(top_R + row, top)
    tl.store(log_total_R + row, log_total)
    tl.store(entropy_R + row, tl.where(entropy < 0.0, 0.0, entropy))
    if TEMPERATURE is not None:
        factor = tl.where(empty, 0.0, tl.exp(offset * (1.0 / TEMPERATURE)))
        part = tl.load(rollout_total_RS + places, mask=inside, other=0.0)
        weighted_part = tl.load(rollout_weighted_RS + places, mask=inside, other=0.0)
        total = tl.sum(factor * part, 0)
        weighted = tl.sum(factor * (weighted_part + part * offset), 0)
        tl.store(rollout_log_total_R + row, tl.log(total))
        tl.store(rollout_mean_R + row, weighted / total)
        if masses_RB is not None:
            for first in range(0, num_blocks, TILE):
                _rescale(
                    masses_RB + row * num_blocks, top_RS + row * num_stretches, top,
                    first, num_blocks, TEMPERATURE, BLOCKS, TILE,
                )  # fmt: skip


@triton.jit
def _rescale(
    masses_B, top_S, top, first, num_blocks,
    TEMPERATURE: tl.constexpr, BLOCKS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Make some masses of a row relative to its maximum, instead of their stretch's."""
    blocks = first + tl.arange(0, TILE)
    inside = blocks < num_blocks
    tops = tl.load(top_S + blocks // BLOCKS, mask=inside, other=float("-inf"))
    offset = tl.where(tops == float("-inf"), 0.0, tops - top)
    masses = tl.load(masses_B + blocks, mask=inside, other=0.0)
    masses = masses * tl.exp(offset * (1.0 / TEMPERATURE))
    tl.store(masses_B + blocks, masses, mask=inside)


@triton.jit
def running_masses(
    running_RB, masses_RB, logits_RV, labels_R, top_R, vocabulary, num_blocks,
    TEMPERATURE: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Running float64 sums of a row's blocks, the label left out; one program a row.

    The label's block is summed anew, since a difference would lose the masses beside a likely
    label.
    """
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels_R + row)
    columns = label // BLOCK * BLOCK + tl.arange(0, BLOCK)
    others = (columns < vocabulary) & (columns != label)
    logits = tl.load(logits_RV + row * vocabulary + columns, mask=others, other=float("-inf"))
    top = tl.load(top_R + row)
    rest = tl.sum(tl.exp((logits - top) * (1.0 / TEMPERATURE)), 0)
    before = tl.full((), 0.0, tl.float64)
    for first in range(0, num_blocks, TILE):
        blocks = first + tl.arange(0, TILE)
        inside = blocks < num_blocks
        masses = tl.load(masses_RB + row * num_blocks + blocks, mask=inside, other=0.0)
        masses = tl.where(blocks == label // BLOCK, rest, masses).to(tl.float64)
        running = before + tl.cumsum(masses, 0)
        tl.store(running_RB + row * num_blocks + blocks, running, mask=inside)
        before = tl.max(running, 0)


@triton.jit(do_not_specialize=["seed_low", "seed_high"])
def draw_words(
    words_RK, labels_R, keys_R, label_prob_R, logits_RV, top_R, running_RB, seed_low, seed_high,
    vocabulary, num_rollouts, num_blocks,
    TEMPERATURE: tl.constexpr, BLOCK: tl.constexpr, DRAWS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """The words of `DRAWS` draws of a row; -1 for a miss where there are no running sums.

    The definitions are those of `rollouts.hits` and `rollouts.missed_words`.
    """
    num_groups = tl.cdiv(num_rollouts, DRAWS)
    program = tl.program_id(0)
    row = (program // num_groups).to(tl.int64)
    draws = program % num_groups * DRAWS + tl.arange(0, DRAWS)
    inside = draws < num_rollouts
    label = tl.load(labels_R + row).to(tl.int32)
    key = tl.load(keys_R + row)
    label_prob = tl.load(label_prob_R + row).to(tl.float64)
    # In 64 bits, since a probability of 1 gives 2^32.
    threshold = (tl.where(label_prob == label_prob, label_prob, 0.0) * 4294967296.0).to(tl.int64)
    a, b, c, d = _philox(draws // 4, 0, key, seed_low, seed_high)
    odd = draws % 2 == 1
    bits = tl.where(draws % 4 < 2, tl.where(odd, b, a), tl.where(odd, d, c))
    missed = bits.to(tl.int64) >= threshold
    words = tl.full((DRAWS,), -1, tl.int32)
    if running_RB is not None:
        a, b, c, d = _philox(draws // 2, 1, key, seed_low, seed_high)
        searching = inside & missed
        running_B = running_RB + row * num_blocks
        total = tl.load(running_B + num_blocks - 1)
        # The factor is 2^-32.
        point = tl.where(odd, c, a).to(tl.float64) * 2.3283064365386963e-10 * total
        low = tl.zeros((DRAWS,), tl.int32)
        high = low + num_blocks
        for _ in range(STEPS):
            middle = (low + high) // 2
            unsettled = low < high
            running = tl.load(running_B + middle, mask=searching & unsettled, other=0.0)
            above = unsettled & (running <= point)
            low = tl.where(above, middle + 1, low)
            high = tl.where(above, high, middle)
        first = tl.minimum(low, num_blocks - 1) * BLOCK
        columns = first[:, None] + tl.arange(0, BLOCK)[None, :]
        others = searching[:, None] & (columns < vocabulary) & (columns != label)
        logits = tl.load(logits_RV + row * vocabulary + columns, mask=others, other=float("-inf"))
        top = tl.load(top_R + row)
        masses = tl.exp((logits - top) * (1.0 / TEMPERATURE))
        running = tl.cumsum(masses.to(tl.float64), 1)
        share = tl.where(odd, d, b).to(tl.float64) * 2.3283064365386963e-10
        point = share * tl.max(running, 1)
        passed = tl.sum((running <= point[:, None]).to(tl.int32), 1)
        words = tl.minimum(first + tl.minimum(passed, BLOCK - 1), vocabulary - 1)
    words = tl.where(missed, words, label).to(tl.int64)
    tl.store(words_RK + row * num_rollouts + draws, words, mask=inside)


@triton.jit
def column_gradients(
    values_RN, columns_RN, amounts_RN, logits_RV, top_R, log_total_R, mean_surprise_R,
    rollout_log_total_R, policy_R, entropy_R, rollout_R, uniform_R, vocabulary, num_columns,
    SCALE: tl.constexpr, SOFTCAP: tl.constexpr, TEMPERATURE: tl.constexpr, ENTRIES: tl.constexpr,
):  # fmt: skip
    """The whole gradient at some single columns of a row, from logits that still stand.

    Entries of one column get one value, the same to the bit: its part from `gradient_of`, less the
    amounts of all of them, summed in one order. An entry without an amount gets none.
    """
    num_groups = tl.cdiv(num_columns, ENTRIES)
    program = tl.program_id(0)
    row = (program // num_groups).to(tl.int64)
    entries = program % num_groups * ENTRIES + tl.arange(0, ENTRIES)
    inside = entries < num_columns
    columns_N = columns_RN + row * num_columns
    amounts_N = amounts_RN + row * num_columns
    amounts = tl.load(amounts_N + entries, mask=inside, other=0.0)
    counts = amounts != 0.0
    columns = tl.load(columns_N + entries, mask=counts, other=0).to(tl.int32)
    same_amounts = tl.zeros((ENTRIES, ENTRIES), values_RN.dtype.element_ty)
    # Draws that hit have no amount, so many programs have nothing to look for.
    num_others = tl.where(tl.sum(counts.to(tl.int32), 0) > 0, num_columns, 0)
    for first in range(0, num_others, ENTRIES):
        others = first + tl.arange(0, ENTRIES)
        beside = others < num_columns
        other_columns = tl.load(columns_N + others, mask=beside, other=-1).to(tl.int32)
        other_amounts = tl.load(amounts_N + others, mask=beside, other=0.0)
        same = columns[:, None] == other_columns[None, :]
        same_amounts += tl.where(same, other_amounts[None, :], 0.0)
    logits = tl.load(logits_RV + row * vocabulary + columns, mask=counts, other=0.0)
    gradient = gradient_of(
        logits, row, top_R, log_total_R, mean_surprise_R, rollout_log_total_R,
        policy_R, entropy_R, rollout_R, uniform_R, SCALE, SOFTCAP, TEMPERATURE,
    )  # fmt: skip
    values = gradient - tl.sum(same_amounts, 1)
    tl.store(values_RN + row * num_columns + entries, values, mask=counts)


@triton.jit
def write_gradient(
    out_RV, logits_RV, top_R, log_total_R, mean_surprise_R, rollout_log_total_R, policy_R,
    entropy_R, rollout_R, uniform_R, vocabulary,
    SCALE: tl.constexpr, SOFTCAP: tl.constexpr, TEMPERATURE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of a row, but for what its single columns add; may be in place."""
    num_tiles = tl.cdiv(vocabulary, TILE)
    program = tl.program_id(0)
    row = (program // num_tiles).to(tl.int64)
    columns = program % num_tiles * TILE + tl.arange(0, TILE)
    inside = columns < vocabulary
    logits = tl.load(logits_RV + row * vocabulary + columns, mask=inside, other=0.0)
    gradient = gradient_of(
        logits, row, top_R, log_total_R, mean_surprise_R, rollout_log_total_R,
        policy_R, entropy_R, rollout_R, uniform_R, SCALE, SOFTCAP, TEMPERATURE,
    )  # fmt: skip
    tl.store(out_RV + row * vocabulary + columns, gradient.to(out_RV.dtype.element_ty), mask=inside)


@triton.jit
def store_columns(
    out_RV, values_RN, columns_RN, amounts_RN, vocabulary, num_columns,
    ENTRIES: tl.constexpr,
):  # fmt: skip
    """Put the values of `column_gradients` in their places. Entries of one column hold one value,
    so it does not matter which is written last."""
    num_groups = tl.cdiv(num_columns, ENTRIES)
    program = tl.program_id(0)
    row = (program // num_groups).to(tl.int64)
    entries = program % num_groups * ENTRIES + tl.arange(0, ENTRIES)
    places = row * num_columns + entries
    amounts = tl.load(amounts_RN + places, mask=entries < num_columns, other=0.0)
    counts = amounts != 0.0
    columns = tl.load(columns_RN + places, mask=counts, other=0)
    values = tl.load(values_RN + places, mask=counts, other=0.0)
    tl.store(out_RV + row * vocabulary + columns, values.to(out_RV.dtype.element_ty), mask=counts)


@triton.jit
def gradient_of(
    logits, row, top_R, log_total_R, mean_surprise_R, rollout_log_total_R, policy_R, entropy_R,
    rollout_R, uniform_R,
    SCALE: tl.constexpr, SOFTCAP: tl.constexpr, TEMPERATURE: tl.constexpr,
):  # fmt: skip
    """slope(z) (policy pi + entropy pi (log pi + H) - rollout q - uniform) at some logits z of a
    row; see `passes.Gradient`. `mean_surprise` is H."""
    shifted = logits - tl.load(top_R + row)
    # Not minus top + log_total, which a large common offset of the logits would round.
    log_prob = shifted - tl.load(log_total_R + row)
    factor = tl.load(policy_R + row)
    if entropy_R is not None:
        surprise = log_prob + tl.load(mean_surprise_R + row)
        factor = factor + tl.load(entropy_R + row) * surprise
    gradient = tl.exp(log_prob) * factor
    if rollout_R is not None:
        rollout_log_prob = shifted * (1.0 / TEMPERATURE) - tl.load(rollout_log_total_R + row)
        gradient = gradient - tl.load(rollout_R + row) * tl.exp(rollout_log_prob)
    if uniform_R is not None:
        gradient = gradient - tl.load(uniform_R + row)
    if SOFTCAP is not None:
        capped = logits * (1.0 / SOFTCAP)
        gradient = gradient * (1.0 - capped * capped)
    return gradient * SCALE


@triton.jit
def _sum(tile):
    return tl.sum(tl.sum(tile, 1), 0)


@triton.jit
def _weighted(exponential, shifted):
    """exponential shifted, and 0 where the logit is -inf."""
    return exponential * tl.where(exponential > 0.0, shifted, 0.0)


@triton.jit
def _tanh(x):
    """tanh x, relatively right near 0 too, without overflow.

    Up to 1/2 by the continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))), ended after 13: its
    own error is below 3e-16 there. Beyond, by exp, where nothing cancels.
    """
    size = tl.abs(x)
    near = size < 0.5
    square = tl.where(near, x * x, 0.0)
    over = 135135.0 + square * (17325.0 + square * (378.0 + square))
    under = 135135.0 + square * (62370.0 + square * (3150.0 + square * 28.0))
    far = tl.exp(-2.0 * size)
    numerator = tl.where(near, size * over, 1.0 - far)
    quotient = numerator / tl.where(near, under, 1.0 + far)
    return tl.where(x < 0.0, -quotient, quotient)


@triton.jit
def _philox(counter, stream: tl.constexpr, key, seed_low, seed_high):
    """Philox4x32-10 as `rollouts.philox` has it: four 32-bit words for every counter."""
    a = counter.to(tl.uint32)
    b = tl.full(counter.shape, stream, tl.uint32)
    c = (key & 0xFFFFFFFF).to(tl.uint32)
    d = ((key >> 32) & 0xFFFFFFFF).to(tl.uint32)
    # In 64 bits, where the sums cannot overflow; each round takes their lower halves.
    key_low = seed_low.to(tl.uint32, bitcast=True).to(tl.uint64)
    key_high = seed_high.to(tl.uint32, bitcast=True).to(tl.uint64)
    for _ in tl.static_range(10):
        product_a = a.to(tl.uint64) * 0xD2511F53
        product_c = c.to(tl.uint64) * 0xCD9E8D57
        a = (product_c >> 32).to(tl.uint32) ^ b ^ key_low.to(tl.uint32)
        b = product_c.to(tl.uint32)
        c = (product_a >> 32).to(tl.uint32) ^ d ^ key_high.to(tl.uint32)
        d = product_a.to(tl.uint32)
        key_low = key_low + 0x9E3779B9
        key_high = key_high + 0xBB67AE85
    return a, b, c, d
