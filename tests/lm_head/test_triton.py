"""The Triton passes against the plain ones in float64, pass by pass.

`test_parity` and `test_rollouts` hold the whole backend to the definitions and to the law; here are
what only kernels get wrong. Without a GPU the kernels are interpreted.

Shapes: R rows, V vocabulary, K rollouts, N single columns.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

pytest.importorskip("triton")

from otr.lm_head import HeadOutput, head, linear_loss, logits_loss, torch_passes, triton_passes
from otr.lm_head.passes import Gradient, LogitTransform, Passes, Sums
from otr.objectives import DFT, OTR, SFT, Needs, Objective
from tests.lm_head.backends import ON_GPU, device, needs_gpu
from tests.lm_head.definitions import CASES
from tests.lm_head.test_parity import gradients, problem

DEVICE = device("triton")
PLAIN = LogitTransform(scale=1.0, softcap=None)
TEMPERATURE = 1.3

Record = TypeVar("Record", Gradient, Sums)


@pytest.fixture(autouse=True)
def memory_is_filled_before_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel leaves unwritten, or reads too early, shows."""

    def filled(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def made(*arguments: Any, **options: Any) -> Tensor:
            tensor = make(*arguments, **options)
            is_floating = tensor.is_floating_point()
            return tensor.fill_(torch.nan if is_floating else torch.iinfo(tensor.dtype).max)

        return made

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, filled(getattr(torch, name)))


def rows(num_rows: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(num_rows * vocabulary)
    logits = 3 * torch.randn(num_rows, vocabulary, generator=generator, dtype=torch.float64)
    return logits.to(DEVICE, dtype)


def labels_of(logits_RV: Tensor) -> Tensor:
    """Likely ones, unlikely ones, the first and the last."""
    labels_R = logits_RV.argmax(1)
    labels_R[1::3] = logits_RV.argmin(1)[1::3]
    labels_R[0], labels_R[-1] = 0, logits_RV.shape[1] - 1
    return labels_R


def asked(num_rollouts: int = 0, temperature: float | None = TEMPERATURE) -> Needs:
    return Needs(temperature=temperature, num_rollouts=num_rollouts)


def assert_same_sums(found: Sums, expected: Sums, tolerance: float) -> None:
    for field in dataclasses.fields(Sums):
        value, wanted = getattr(found, field.name), getattr(expected, field.name)
        assert (value is None) == (wanted is None), field.name
        if value is not None:
            torch.testing.assert_close(value.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("vocabulary", [20, 129, 128 * 37, 2 * 4096, 40_001])
def test_sums_are_those_of_float64(vocabulary: int, dtype: torch.dtype) -> None:
    tolerance = 3e-6 if dtype == torch.float32 else 1e-12
    for scale, softcap, temperature, masses in (
        (1.0, None, 1.3, True),
        (0.7, None, 0.7, True),
        (-1.6, 5.0, 1.0, True),
        (1.0, 8.0, 1.3, False),
        (1.0, None, None, False),
    ):
        transform, needs = LogitTransform(scale=scale, softcap=softcap), asked(0, temperature)
        logits_RV = rows(3, vocabulary, dtype)
        doubles_RV = logits_RV.to(torch.float64, copy=True)
        found = triton_passes.sums(logits_RV, transform, needs, masses)
        expected = torch_passes.sums(doubles_RV, transform, needs, masses)
        assert_same_sums(found, expected, tolerance)
        torch.testing.assert_close(logits_RV.double(), doubles_RV, rtol=tolerance, atol=0)


def test_the_softcap_is_relatively_right_for_small_and_large_logits() -> None:
    small_to_large = torch.logspace(-6, 4, 3000, dtype=torch.float64)
    doubles_RV = torch.stack([small_to_large, -small_to_large]).to(DEVICE)
    # A GPU's exponential and quotient are right to two units in the last place each.
    for dtype, tolerance in ((torch.float32, 1e-6 if ON_GPU else 4e-7), (torch.float64, 2e-15)):
        logits_RV = doubles_RV.to(dtype, copy=True)
        expected = 2.5 * torch.tanh(logits_RV.double() / 2.5)
        triton_passes.sums(logits_RV, LogitTransform(scale=1.0, softcap=2.5), asked(), False)
        error = ((logits_RV.double() - expected) / expected).abs().max()
        assert error <= tolerance, f"relative error {error:.1e} in {dtype}"


def test_a_large_common_offset_of_the_logits_does_not_matter() -> None:
    # Multiples of 1/8, which an offset of 2^19 leaves exact in float32.
    logits_RV = (rows(4, 5000) * 8).round() / 8
    outputs = []
    for offset in (0.0, 2.0**19):
        leaf = (logits_RV + offset).requires_grad_()
        out = logits_loss(leaf, labels_of(logits_RV), OTR(), backend="triton", return_rollouts=True)
        outputs.append((out.loss, out.entropy, out.rollouts, *gradients(out, [leaf])))
    for at_zero, far in zip(*outputs, strict=True):
        assert torch.equal(at_zero, far)


def test_a_stretch_far_below_the_rest_neither_overflows_nor_counts() -> None:
    logits_RV = rows(2, 3 * 4096, torch.float64)
    logits_RV[:, 4096:8192] -= 1e5
    logits_RV[1, :4096] = -torch.inf
    expected_RV = logits_RV.clone()
    found = triton_passes.sums(logits_RV, PLAIN, asked(), True)
    # Where nothing is infinite, plain arithmetic is right.
    expected = torch_passes.sums(expected_RV.clamp(min=-1e300), PLAIN, asked(), True)
    assert_same_sums(found, expected, 1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_infinite_and_undefined_logits_stay_in_their_rows() -> None:
    logits = rows(5, 4200)
    labels = labels_of(logits)
    logits[1, 7], logits[2, 4100], logits[3] = torch.inf, torch.nan, torch.nan
    objective = OTR(num_rollouts=20)
    sound = [0, 4]
    out = logits_loss(logits, labels, objective, backend="triton", return_rollouts=True)
    assert out.rollouts is not None
    assert ((out.rollouts >= 0) & (out.rollouts < 4200)).all()
    assert out.loss.isnan() and out.entropy[1:4].isnan().all()
    alone = logits_loss(
        logits[sound], labels[sound], objective,
        token_keys=torch.tensor(sound, device=DEVICE), backend="triton", return_rollouts=True,
    )  # fmt: skip
    assert torch.equal(out.log_prob[sound], alone.log_prob)
    assert torch.equal(out.rollouts[sound], alone.rollouts)  # type: ignore[arg-type]


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    logits = torch.zeros(3, 300)
    logits[0, 0], logits[1, 1], logits[2] = 1e4, -1e4, 3e4
    labels = torch.tensor([5, 1, 7], device=DEVICE)
    for name in ("sft", "otr", "otr-exact", "contrast", "with-entropy"):
        leaf = logits.to(DEVICE).requires_grad_()
        out = logits_loss(leaf, labels, CASES[name][0], backend="triton")
        assert out.loss.isfinite() and (out.log_prob <= 0).all()
        assert gradients(out, [leaf])[0].isfinite().all()


# Words


def words_of(
    passes: Passes, logits_RV: Tensor, num_rollouts: int, masses: bool = True, seed: int = 3
) -> Tensor:
    """The words by some passes, from the same sums and the same label probabilities."""
    labels_R, needs = labels_of(logits_RV), asked(num_rollouts)
    sums = torch_passes.sums(logits_RV.clone(), PLAIN, needs, masses)
    label_prob_R = (logits_RV / TEMPERATURE).softmax(1).gather(1, labels_R[:, None])[:, 0]
    # Some more than the logits give, so that draws hit; one certain, one impossible.
    label_prob_R[2:] = label_prob_R[2:].clamp(min=0.3)
    label_prob_R[0], label_prob_R[1] = 1.0, 0.0
    keys_R = torch.arange(len(logits_RV), device=DEVICE) * 2**40 - 2**41
    return passes.words(logits_RV, labels_R, keys_R, label_prob_R, sums, needs, seed)


@pytest.mark.parametrize(
    ("vocabulary", "num_rollouts"), [(20, 1), (129, 65), (4736, 200), (40_001, 20)]
)
def test_words_are_those_of_the_plain_passes(vocabulary: int, num_rollouts: int) -> None:
    for seed in (0, 2**32 - 1, 2**63 + 2**31, -5):
        logits_RV = rows(5, vocabulary, torch.float64)
        found = words_of(triton_passes, logits_RV, num_rollouts, seed=seed)
        assert torch.equal(found, words_of(torch_passes, logits_RV, num_rollouts, seed=seed))
        assert (found[0] == 0).all() and (found[1] != labels_of(logits_RV)[1]).all()


def test_words_of_float32_logits_differ_only_where_rounding_decides() -> None:
    logits_RV = rows(40, 3000)
    found = words_of(triton_passes, logits_RV, 250)
    same = (found == words_of(torch_passes, logits_RV, 250)).double().mean()
    assert same >= 0.9999, f"{same:.5f} of the words are the same"


def test_where_only_hits_matter_misses_are_marked() -> None:
    logits_RV = rows(6, 700)
    marked = words_of(triton_passes, logits_RV, 70, masses=False)
    assert torch.equal(marked, words_of(torch_passes, logits_RV, 70, masses=False))
    searched = words_of(triton_passes, logits_RV, 70)
    labels_R = labels_of(logits_RV)
    assert torch.equal(marked == labels_R[:, None], searched == labels_R[:, None])
    assert (marked == -1).any() and (marked >= 0).any()


# The gradient


def gradient_of(
    logits_RV: Tensor, num_columns: int, transform: LogitTransform, parts: bool
) -> tuple[Gradient, Sums]:
    """Coefficients with many duplicates among the single columns, and columns of no amount."""
    generator = torch.Generator().manual_seed(num_columns)
    num_rows, vocabulary = logits_RV.shape

    def drawn(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(DEVICE, logits_RV.dtype)

    columns_RN = torch.randint(0, vocabulary, (num_rows, num_columns), generator=generator)
    columns_RN[:, 1::2] = columns_RN[:, :1]
    amounts_RN = drawn(num_rows, num_columns)
    amounts_RN[:, 2::3] = 0
    gradient = Gradient(
        policy_R=drawn(num_rows),
        entropy_R=drawn(num_rows) if parts else None,
        rollout_R=drawn(num_rows) if parts else None,
        # As one value for all rows, without memory of its own for each.
        uniform_R=drawn(1).expand(num_rows) if parts else None,
        columns_RN=columns_RN.to(DEVICE),
        amounts_RN=amounts_RN,
    )
    return gradient, torch_passes.sums(logits_RV, transform, asked(), False)


def in_float64(
    gradient: Gradient, sums: Sums, logits_RV: Tensor, transform: LogitTransform
) -> Tensor:
    """The gradient by the plain passes."""
    out_RV = logits_RV.to(torch.float64, copy=True)
    torch_passes.write_gradient(
        out_RV,
        out_RV,
        every(gradient, lambda value: value.double() if value.is_floating_point() else value),
        every(sums, Tensor.double),
        transform,
        TEMPERATURE,
    )
    return out_RV


def every(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """The same record with all its tensors changed."""
    changed: dict[str, Any] = {
        name: change(value) for name, value in vars(record).items() if value is not None
    }
    return dataclasses.replace(record, **changed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("parts", [True, False], ids=["every part", "no part"])
@pytest.mark.parametrize(
    ("vocabulary", "num_columns"), [(20, 1), (129, 65), (4736, 150), (9001, 64)]
)
def test_the_gradient_is_that_of_float64_in_place_and_beside(
    vocabulary: int, num_columns: int, parts: bool, dtype: torch.dtype
) -> None:
    tolerance = 3e-6 if dtype == torch.float32 else 1e-13
    for transform in (PLAIN, LogitTransform(scale=0.7, softcap=6.0)):
        logits_RV = rows(3, vocabulary, dtype)
        gradient, sums = gradient_of(logits_RV, num_columns, transform, parts)
        expected = in_float64(gradient, sums, logits_RV, transform)
        beside_RV = torch.full_like(logits_RV, torch.nan)
        before_RV = logits_RV.clone()
        for out_RV in (beside_RV, logits_RV):
            triton_passes.write_gradient(logits_RV, out_RV, gradient, sums, transform, TEMPERATURE)
            torch.testing.assert_close(out_RV.double(), expected, rtol=tolerance, atol=tolerance)
            if out_RV is beside_RV:
                assert torch.equal(logits_RV, before_RV)
        assert torch.equal(logits_RV, beside_RV)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bit_gradients_are_rounded_once(dtype: torch.dtype) -> None:
    logits_RV = rows(3, 4736)
    gradient, sums = gradient_of(logits_RV, 150, PLAIN, True)
    whole_RV = torch.full_like(logits_RV, torch.nan)
    short_RV = torch.full_like(logits_RV, torch.nan, dtype=dtype)
    for out_RV in (whole_RV, short_RV):
        triton_passes.write_gradient(logits_RV, out_RV, gradient, sums, PLAIN, TEMPERATURE)
    if dtype == torch.bfloat16 and not ON_GPU:
        # Triton's interpreter cuts off where a GPU rounds.
        whole_RV = (whole_RV.view(torch.int32) & -(2**16)).view(torch.float32)
    assert torch.equal(short_RV, whole_RV.to(dtype))


def test_a_gradient_changes_nothing_around_it() -> None:
    room = torch.full((7, 4736), torch.nan, device=DEVICE)
    logits_RV = rows(3, 4736)
    gradient, sums = gradient_of(logits_RV, 70, PLAIN, True)
    triton_passes.write_gradient(logits_RV, room[2:5], gradient, sums, PLAIN, TEMPERATURE)
    assert room[[0, 1, 5, 6]].isnan().all() and room[2:5].isfinite().all()


def test_a_thousand_draws_of_few_words_are_counted() -> None:
    logits_RV = rows(1, 40, torch.float64)
    gradient, sums = gradient_of(logits_RV, 1025, PLAIN, False)
    expected = in_float64(gradient, sums, logits_RV, PLAIN)
    triton_passes.write_gradient(logits_RV, logits_RV, gradient, sums, PLAIN, TEMPERATURE)
    torch.testing.assert_close(logits_RV, expected, rtol=1e-12, atol=1e-12)


# The backend


def step(
    objective: Objective, dtype: torch.dtype = torch.float32, backend: str = "triton"
) -> tuple[HeadOutput, list[Tensor]]:
    hidden, weight, bias, labels = problem(13, 507, 24, dtype, "triton")
    leaves = [leaf.requires_grad_() for leaf in (hidden, weight, bias)]
    out = linear_loss(
        hidden, weight, labels, objective, bias=bias, backend=backend,
        return_rollouts=True, seed=8,
    )  # fmt: skip
    return out, gradients(out, leaves)


def test_two_runs_agree_to_the_bit() -> None:
    (first, first_gradients), (second, second_gradients) = (step(OTR()) for _ in range(2))
    assert first.rollouts is not None and second.rollouts is not None
    pairs = [(first.loss, second.loss), (first.rollouts, second.rollouts)]
    for left, right in [*pairs, *zip(first_gradients, second_gradients, strict=True)]:
        assert torch.equal(left, right)


@pytest.mark.parametrize("name", ["otr-exact", "otr-few", "dft", "with-entropy"])
def test_errors_are_no_larger_than_those_of_plain_arithmetic(name: str) -> None:
    objective = CASES[name][0]
    errors = {}
    truth, expected = step(objective, torch.float64, "chunked")
    for backend in ("triton", "chunked"):
        out, found = step(objective, torch.float32, backend)
        pairs = zip((out.loss, *found), (truth.loss, *expected), strict=True)
        errors[backend] = [
            float((left.detach().double() - right.detach()).norm() / right.detach().norm())
            for left, right in pairs
        ]
    for triton_error, plain_error in zip(errors["triton"], errors["chunked"], strict=True):
        assert triton_error <= 2 * plain_error + 1e-7


def test_a_frozen_head_still_gives_the_hidden_gradient() -> None:
    hidden, weight, _, labels = problem(13, 507, 24, torch.float32, "triton")
    hidden.requires_grad_()
    found, expected = (
        gradients(linear_loss(hidden, weight, labels, DFT(), backend=backend), [hidden])[0]
        for backend in ("triton", "chunked")
    )
    assert expected.norm() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_unless_told_the_fastest_backend_that_fits_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    def taken(device: str, *dtypes: torch.dtype) -> str:
        inputs: list[Any] = [
            SimpleNamespace(device=torch.device(device), dtype=dtype) for dtype in dtypes
        ]
        return head._backend(None, *inputs).__name__.rsplit(".", 1)[1]

    assert taken("cuda", torch.float32, torch.float32) == "triton_head"
    assert taken("cuda", torch.bfloat16, torch.float32) == "triton_head"
    assert taken("cuda", torch.float32, torch.float64) == "chunked"
    assert taken("cpu", torch.float32, torch.float32) == "chunked"
    monkeypatch.setattr(head, "find_spec", lambda name: None)
    assert taken("cuda", torch.float32, torch.float32) == "chunked"


def test_where_triton_cannot_run_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = torch.zeros(4, 8), torch.zeros(20, 8), torch.zeros(4, dtype=torch.int64)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="found cpu: move them there, or leave backend out"):
        linear_loss(*tensors, SFT(), backend="triton")
    monkeypatch.setattr(head, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="`pip install triton` adds it"):
        linear_loss(*tensors, SFT(), backend="triton")


def in_a_process_of_its_own(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_triton_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys, torch, otr.lm_head; from otr import SFT, linear_loss;"
        "linear_loss(torch.zeros(4, 8), torch.zeros(20, 8), torch.zeros(4).long(), SFT());"
        "print([name for name in ('triton', 'transformers') if name in sys.modules])"
    )
    assert in_a_process_of_its_own("-c", code).strip() == "[]"


@pytest.mark.slow
def test_every_kernel_compiles_for_a_hopper_gpu(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = in_a_process_of_its_own("-m", "tests.lm_head.compile_kernels").split()
    assert set(names) == {
        "stretch_sums",
        "row_sums",
        "running_masses",
        "draw_words",
        "column_gradients",
        "write_gradient",
        "store_columns",
    }


# On a GPU only


@needs_gpu
def test_rows_beyond_two_to_the_31_elements_are_reached() -> None:
    num_rows, vocabulary = 16 * 940, 151_936
    last = slice(num_rows - 16, num_rows)
    assert last.start * vocabulary > 2**31
    logits_RV = torch.zeros(num_rows, vocabulary, device="cuda")
    logits_RV[last] = rows(16, vocabulary)
    needs = asked(33)
    labels_R = labels_of(logits_RV)
    keys_R = torch.arange(num_rows, device="cuda")
    label_prob_R = torch.full((num_rows,), 0.1, device="cuda")
    gradient, _ = gradient_of(logits_RV[last], 70, PLAIN, True)
    results = []
    for part in (slice(0, num_rows), last):
        part_RV = logits_RV[part]
        sums = triton_passes.sums(part_RV, PLAIN, needs, True)
        words_RK = triton_passes.words(
            part_RV, labels_R[part], keys_R[part], label_prob_R[part], sums, needs, 5
        )
        results.append((sums, words_RK))
    (whole_sums, whole_words), (sums, words_RK) = results
    assert torch.equal(whole_words[last], words_RK)
    for field in dataclasses.fields(Sums):
        assert torch.equal(getattr(whole_sums, field.name)[last], getattr(sums, field.name))
    expected = in_float64(gradient, sums, logits_RV[last], PLAIN)
    # Any numbers do for the rows before.
    before = num_rows // 16
    whole_gradient = every(gradient, lambda value: value.repeat(before, *[1] * (value.ndim - 1)))
    assert len(whole_gradient.policy_R) == num_rows
    triton_passes.write_gradient(
        logits_RV, logits_RV, whole_gradient, whole_sums, PLAIN, TEMPERATURE
    )
    torch.testing.assert_close(logits_RV[last].double(), expected, rtol=3e-6, atol=3e-6)


@needs_gpu
def test_no_pass_waits_for_the_host() -> None:
    logits_RV = rows(40, 9001)
    labels_R, needs = labels_of(logits_RV), asked(100)
    keys_R = torch.arange(40, device="cuda")
    label_prob_R = torch.full((40,), 0.2, device="cuda")
    gradient, _ = gradient_of(logits_RV, 101, PLAIN, True)
    for mode in ("default", "error"):
        # The first time, compiling and loading may wait.
        torch.cuda.set_sync_debug_mode(mode)
        try:
            sums = triton_passes.sums(logits_RV, PLAIN, needs, True)
            triton_passes.words(logits_RV, labels_R, keys_R, label_prob_R, sums, needs, 5)
            triton_passes.write_gradient(
                logits_RV, torch.empty_like(logits_RV), gradient, sums, PLAIN, TEMPERATURE
            )
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_autocast_and_checkpointing_change_no_gradient() -> None:
    hidden, weight, _, labels = problem(255, 507, 123, torch.float32, "triton")
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return linear_loss(hidden, weight, labels, OTR(), seed=4).loss

    expected = torch.autograd.grad(loss(*leaves), leaves)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        again = checkpoint(loss, *leaves, use_reentrant=False)
    assert isinstance(again, Tensor)
    for found, wanted in zip(torch.autograd.grad(again, leaves), expected, strict=True):
        assert torch.equal(found, wanted)
