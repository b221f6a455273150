"""The passes over a chunk of logits as Triton kernels, on a GPU.

Each logit is read once for the sums (and written, where scale or softcap change it), and read and
written once for the gradient; whatever else is made is smaller by a factor of 16 or more. Nothing
waits for the host, and nothing depends on the order in which programs run.

Sizes are fixed, for memory-bound work on large GPUs (an H200: 132 processors, 4 TB/s, 2048 threads
and 64 Ki registers a processor). The two large passes give each program 4096 logits, 16 a thread
in four loads of 16 bytes: a processor then holds about five programs, so 80 KiB are under way where
20 would hide the memory's latency, and a chunk of 768 x 151936 logits makes 29,000 programs, some
forty times what runs at once. No tile that is changed in place is smaller than its program has
threads: two threads would then hold one number, and one could read it after the other wrote.

Shapes: R rows, V vocabulary, S stretches of columns, B blocks of `rollouts.BLOCK` columns, K
rollouts, N single columns.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from otr.lm_head import rollouts, triton_kernels
from otr.lm_head.passes import Gradient, LogitTransform, Sums
from otr.objectives import Needs

_STRETCH_BLOCKS = 4096 // rollouts.BLOCK
"""Blocks in a stretch of columns: what one program sums."""

_TILE = 4096
"""Columns of which one program writes the gradient."""

_LARGE_PASS_WARPS, _SMALL_PASS_WARPS = 8, 4

_ROW_TILE = 1024
"""Blocks that the program of a row takes at once."""

_DRAWS = 64
"""Draws of one program: it holds their blocks' running sums, 16 KiB in float64, in registers."""

_ENTRIES = 64
"""Single columns of one program, which compares them with as many others at once."""


def sums(logits_RV: Tensor, transform: LogitTransform, needs: Needs, masses: bool) -> Sums:
    """See `Passes.sums`."""
    num_rows, vocabulary = logits_RV.shape
    num_stretches = triton.cdiv(vocabulary, _STRETCH_BLOCKS * rollouts.BLOCK)
    num_blocks = triton.cdiv(vocabulary, rollouts.BLOCK)
    wanted = [True, True, True, needs.temperature is not None, needs.temperature is not None]
    # Each in memory of its own: Triton compiles anew for pointers that are aligned otherwise.
    parts = [_like(logits_RV, num_rows, num_stretches) if want else None for want in wanted]
    found = [_like(logits_RV, num_rows) if want else None for want in wanted]
    masses_RB = _like(logits_RV, num_rows, num_blocks) if masses else None
    _launch(
        triton_kernels.stretch_sums, num_rows * num_stretches, _LARGE_PASS_WARPS,
        _contiguous(logits_RV), *parts, masses_RB, vocabulary,
        transform.scale, transform.softcap, needs.temperature, rollouts.BLOCK, _STRETCH_BLOCKS,
    )  # fmt: skip
    _launch(
        triton_kernels.row_sums, num_rows, _SMALL_PASS_WARPS,
        *parts, masses_RB, *found, num_stretches, num_blocks,
        needs.temperature, _STRETCH_BLOCKS, triton.next_power_of_2(num_stretches), _ROW_TILE,
    )  # fmt: skip
    top_R, log_total_R, entropy_R, rollout_log_total_R, rollout_mean_R = found
    assert top_R is not None and log_total_R is not None and entropy_R is not None
    return Sums(
        top_R=top_R,
        log_total_R=log_total_R,
        entropy_R=entropy_R,
        rollout_log_total_R=rollout_log_total_R,
        rollout_mean_R=rollout_mean_R,
        rollout_masses_RB=masses_RB,
    )


def words(
    logits_RV: Tensor,
    labels_R: Tensor,
    keys_R: Tensor,
    label_prob_R: Tensor,
    sums: Sums,
    needs: Needs,
    seed: int,
) -> Tensor:
    """See `Passes.words`."""
    num_rows, vocabulary = _contiguous(logits_RV).shape
    labels_R, keys_R = labels_R.contiguous(), keys_R.contiguous()
    running_RB, num_blocks = None, 0
    if sums.rollout_masses_RB is not None:
        num_blocks = sums.rollout_masses_RB.shape[1]
        running_RB = torch.empty_like(sums.rollout_masses_RB, dtype=torch.float64)
        _launch(
            triton_kernels.running_masses, num_rows, _SMALL_PASS_WARPS,
            running_RB, sums.rollout_masses_RB, logits_RV, labels_R, sums.top_R,
            vocabulary, num_blocks, needs.temperature, rollouts.BLOCK, _ROW_TILE,
        )  # fmt: skip
    words_RK = torch.empty(num_rows, needs.num_rollouts, dtype=torch.int64, device=logits_RV.device)
    # So many halvings leave nothing of that many blocks.
    num_steps = num_blocks.bit_length()
    _launch(
        triton_kernels.draw_words,
        num_rows * triton.cdiv(needs.num_rollouts, _DRAWS), _SMALL_PASS_WARPS,
        words_RK, labels_R, keys_R, label_prob_R.contiguous(), logits_RV, sums.top_R, running_RB,
        _as_int32(seed), _as_int32(seed >> 32), vocabulary, needs.num_rollouts, num_blocks,
        needs.temperature, rollouts.BLOCK, _DRAWS, num_steps,
    )  # fmt: skip
    return words_RK


def write_gradient(
    logits_RV: Tensor,
    out_RV: Tensor,
    gradient: Gradient,
    sums: Sums,
    transform: LogitTransform,
    temperature: float | None,
) -> None:
    """See `Passes.write_gradient`. Where `out_RV` is not the logits, these stay as they are."""
    num_rows, vocabulary = _contiguous(logits_RV).shape
    of_rows = [
        None if of_row is None else of_row.contiguous()
        for of_row in (
            sums.top_R,
            sums.log_total_R,
            sums.entropy_R,
            sums.rollout_log_total_R,
            gradient.policy_R,
            gradient.entropy_R,
            gradient.rollout_R,
            gradient.uniform_R,
        )
    ]
    constants = (transform.scale, transform.softcap, temperature)
    columns_RN, amounts_RN = gradient.columns_RN.contiguous(), gradient.amounts_RN.contiguous()
    num_columns = columns_RN.shape[1]
    num_column_programs = num_rows * triton.cdiv(num_columns, _ENTRIES)
    values_RN = torch.empty_like(amounts_RN, dtype=logits_RV.dtype)
    # While the logits still stand: the next kernel may write in their place.
    _launch(
        triton_kernels.column_gradients, num_column_programs, _SMALL_PASS_WARPS,
        values_RN, columns_RN, amounts_RN, logits_RV, *of_rows, vocabulary, num_columns,
        *constants, _ENTRIES,
    )  # fmt: skip
    _launch(
        triton_kernels.write_gradient,
        num_rows * triton.cdiv(vocabulary, _TILE), _LARGE_PASS_WARPS,
        _contiguous(out_RV), logits_RV, *of_rows, vocabulary, *constants, _TILE,
    )  # fmt: skip
    _launch(
        triton_kernels.store_columns, num_column_programs, _SMALL_PASS_WARPS,
        out_RV, values_RN, columns_RN, amounts_RN, vocabulary, num_columns, _ENTRIES,
    )  # fmt: skip


def _launch(kernel: Any, num_programs: int, num_warps: int, *arguments: Any) -> None:
    """Run a kernel on the device of its first argument, which need not be the current one."""
    with torch.cuda.device_of(arguments[0]):
        # Triton means to turn its default for fused multiply-adds, so that it is said here.
        kernel[(num_programs,)](*arguments, num_warps=num_warps, enable_fp_fusion=True)


def _like(tensor: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)


def _contiguous(matrix: Tensor) -> Tensor:
    assert matrix.is_contiguous(), "the kernels take rows that stand close together"
    return matrix


def _as_int32(word: int) -> int:
    """The lower 32 bits, as the signed number that has them: one type for every seed."""
    return (word + 2**31) % 2**32 - 2**31
