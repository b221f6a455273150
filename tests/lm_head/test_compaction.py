"""Compaction: whatever the data, the gradients stay within the bound, and the bound is checked."""

from typing import Any

import pytest
import torch
from torch import Tensor

from otr.lm_head import chunked, compaction, linear_loss
from otr.lm_head.compaction import Compaction
from otr.objectives import OTR, SFT, Objective
from tests.lm_head.definitions import CASES

BOUND = 2.0**-9
T, V, D = 384, 1500, 24


def trained_like(seed: int, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states that point at their label, some of them at another word."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(V, D, generator=generator)
    # Labels repeat as words of a text do.
    labels = (V * torch.rand(T, generator=generator) ** 6).long()
    meant = labels.clone()
    meant[::17] = torch.randint(0, V, meant[::17].shape, generator=generator)
    noise = torch.randn(T, D, generator=generator)
    sure = sharpness * torch.rand(T, 1, generator=generator).sqrt()
    return sure * weight[meant] / D**0.5 + 0.05 * noise, weight, labels


def gradients(
    hidden: Tensor, weight: Tensor, labels: Tensor, objective: Objective, **keywords: Any
) -> tuple[list[Tensor], Tensor | None]:
    leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    out = linear_loss(leaves[0], leaves[1], labels, objective, **keywords)
    return list(torch.autograd.grad(out.loss, leaves)), out.kept_fraction


def assert_within(found: list[Tensor], whole: list[Tensor], bound: float) -> None:
    """The gradients of hidden states and weight are within four times the bound, and the bound."""
    for gradient, expected, factor in zip(found, whole, (4, 1), strict=False):
        # What float32 itself loses is not compaction's.
        assert (gradient - expected).norm() <= (factor * bound + 1e-6) * expected.norm()


@pytest.mark.parametrize("name", CASES)
def test_errors_stay_within_the_bound_for_every_objective(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "_CPU_CHUNK_BYTES", 128 * V * 4)
    objective, _ = CASES[name]
    # pi / (1 - pi) of a certain word is infinite by definition.
    for sharpness in (1.0, 4.0) if name == "unlikely" else (1.0, 8.0, 40.0):
        problem = trained_like(1, sharpness)
        whole, none = gradients(*problem, objective, compaction="off")
        assert none is None
        for bound in (BOUND, 2.0**-5):
            found, kept_fraction = gradients(*problem, objective, compaction=bound)
            assert_within(found, whole, bound)
            assert kept_fraction is not None and 0 < kept_fraction <= 1


@pytest.mark.parametrize("objective", [SFT(), OTR(), OTR(num_rollouts="exact")], ids=str)
def test_most_of_a_sure_model_is_left_out(objective: Objective) -> None:
    # float64 keeps 1 - pi of a sure model, which float32 would round to 0.
    hidden, weight, labels = (
        part.double() if part.is_floating_point() else part for part in trained_like(2, 60.0)
    )
    whole, _ = gradients(hidden, weight, labels, objective, compaction="off")
    found, kept_fraction = gradients(hidden, weight, labels, objective, compaction=BOUND)
    assert_within(found, whole, BOUND)
    assert kept_fraction is not None and kept_fraction < 0.5


def test_many_tiny_rows_of_one_sign_are_kept_when_they_add_up() -> None:
    # Each of these rows pushes the same word up along the same direction, a millionth as much as
    # the largest row; no entry of theirs is above a threshold of 2**-9 of the largest, or near it.
    rows, vocabulary = 60_000, 40
    hidden = torch.zeros(rows, 4)
    hidden[:, 0], hidden[0] = 1.0, torch.tensor([0.0, 1.0, 0.0, 0.0])
    weight = torch.zeros(vocabulary, 4, dtype=torch.float32)
    weight[7, 0] = 15.0
    labels = torch.full((rows,), 7)
    labels[0] = 3
    whole, _ = gradients(hidden, weight, labels, SFT(), compaction="off")
    sizes = 1 - torch.softmax(hidden @ weight.T, 1)[1:, 7]
    assert sizes.max() < 2**-9 / 100 and sizes.sum() > 0.1
    found, kept_fraction = gradients(hidden, weight, labels, SFT(), compaction=BOUND)
    assert_within(found, whole, BOUND)
    naive = whole[1].clone()
    naive[:, 0] = 0
    assert (naive - whole[1]).norm() > 20 * BOUND * whole[1].norm()
    assert kept_fraction is not None and kept_fraction > 0.05


def test_rows_that_cancel_leave_little_to_compare_with() -> None:
    # Pairs of tokens with opposite hidden states and almost opposite gradients.
    generator = torch.Generator().manual_seed(3)
    half = torch.randn(300, D, generator=generator)
    weight = 1e-4 * torch.randn(64, D, generator=generator)
    problem = torch.cat([half, -half]), weight, torch.full((600,), 5)
    whole, _ = gradients(*problem, SFT(), compaction="off")
    found, _ = gradients(*problem, SFT(), compaction=0.3)
    assert_within(found, whole, 0.3)


def test_where_the_certificate_fails_the_call_is_repeated_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "_CAUTION", 1e4)
    monkeypatch.setattr(chunked, "_CPU_CHUNK_BYTES", 128 * V * 4)
    problem = trained_like(4, 8.0)
    bias = torch.zeros(V, requires_grad=True)
    whole, _ = gradients(*problem, SFT(), compaction="off", bias=bias)
    found, kept_fraction = gradients(*problem, SFT(), compaction=BOUND, bias=bias)
    assert kept_fraction == 1
    for gradient, expected in zip(found, whole, strict=True):
        assert torch.equal(gradient, expected)


def test_the_bounds_hold_where_float32_products_are_rounded_to_16_bits() -> None:
    # A caller may allow that, for speed. These numbers lose most by it.
    sizes = torch.full((8, 64), 1 + 2.0**-8 - 2.0**-20)
    rounded = sizes.bfloat16().float() @ sizes.T.bfloat16().float()
    true = sizes.double() @ sizes.T.double()
    assert (rounded < true).all()
    assert (compaction._ROUNDING * rounded >= true).all()


def test_the_certificate_is_checked_against_what_was_kept() -> None:
    hidden, weight, labels = trained_like(4, 8.0)
    logits = (hidden @ weight.T).double()
    gradient = logits.softmax(1)
    gradient[torch.arange(T), labels] -= 1
    choice = Compaction(0.1, T, weight, hidden_gradient=True, weight_gradient=True)
    kept = choice.kept(gradient.float().clone(), hidden, torch.arange(T))
    partial = torch.zeros(T, V)
    columns = torch.arange(V) if kept.columns is None else kept.columns
    partial[kept.index_R[:, None], columns] = kept.gradient_RV[:, columns]
    assert (partial == 0).any() and torch.equal(kept.hidden_RD, hidden[kept.index_R])
    of_hidden, of_weight = partial @ weight, partial.T @ hidden
    error_of_hidden = (of_hidden - gradient.float() @ weight).norm()
    error_of_weight = (of_weight - gradient.float().T @ hidden).norm()
    assert 0 < error_of_hidden <= 0.4 * of_hidden.norm()
    assert 0 < error_of_weight <= 0.1 * of_weight.norm()
    assert choice.holds(of_hidden, of_weight)
    # Gradients a hundred times smaller would not have allowed what was left out.
    assert not choice.holds(of_hidden / 100, of_weight)
    assert not choice.holds(of_hidden, of_weight / 100)


def test_a_frozen_head_is_held_to_the_bound_of_the_hidden_gradient() -> None:
    hidden, weight, labels = trained_like(5, 40.0)
    leaf = hidden.clone().requires_grad_()
    (whole,) = torch.autograd.grad(linear_loss(leaf, weight, labels, OTR()).loss, leaf)
    out = linear_loss(leaf, weight, labels, OTR(), compaction=BOUND)
    (found,) = torch.autograd.grad(out.loss, leaf)
    assert_within([found], [whole], BOUND)
    assert out.kept_fraction is not None and out.kept_fraction < 1


def test_the_bias_gets_the_gradient_of_every_token() -> None:
    hidden, weight, labels = trained_like(6, 40.0)
    bias = torch.zeros(V, requires_grad=True)
    grads = []
    for bound in ("off", BOUND):
        loss = linear_loss(hidden, weight, labels, SFT(), bias=bias, compaction=bound).loss
        grads.append(torch.autograd.grad(loss, bias)[0])
    torch.testing.assert_close(grads[0], grads[1])


def test_losses_statistics_and_rollouts_do_not_depend_on_it() -> None:
    hidden, weight, labels = trained_like(7, 8.0)
    hidden.requires_grad_()
    plain, compacted = (
        linear_loss(hidden, weight, labels, OTR(), compaction=bound, return_rollouts=True)
        for bound in ("off", BOUND)
    )
    assert torch.equal(plain.loss, compacted.loss)
    assert torch.equal(plain.log_prob, compacted.log_prob)
    assert plain.rollouts is not None and compacted.rollouts is not None
    assert torch.equal(plain.rollouts, compacted.rollouts)


def test_where_it_brings_nothing_it_is_tried_on_some_rows_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunked, "_CPU_CHUNK_BYTES", 256 * V * 4)
    tried: list[int] = []
    choose = Compaction._choose_columns

    def counted(self: Compaction, gradient: Tensor, *rest: Any) -> Tensor | None:
        tried.append(len(gradient))
        return choose(self, gradient, *rest)

    monkeypatch.setattr(Compaction, "_choose_columns", counted)
    generator = torch.Generator().manual_seed(11)
    weight = torch.randn(V, D, generator=generator)
    hidden = torch.randn(1024, D, generator=generator) / D**0.5
    labels = torch.randint(0, V, (1024,), generator=generator)
    whole, _ = gradients(hidden, weight, labels, SFT(), compaction="off")
    found, kept_fraction = gradients(hidden, weight, labels, SFT(), compaction=BOUND)
    assert tried == [64] and kept_fraction == 1
    for gradient, expected in zip(found, whole, strict=True):
        assert torch.equal(gradient, expected)


def test_gradients_that_are_not_finite_are_not_left_out() -> None:
    hidden, weight, labels = trained_like(8, 40.0)
    hidden[50, 0] = torch.nan
    found, _ = gradients(hidden, weight, labels, SFT(), compaction=BOUND)
    assert found[0][50].isnan().all() and found[1].isnan().any()


def test_it_is_on_for_sixteen_bits_and_off_elsewhere_unless_asked_for() -> None:
    hidden, weight = torch.randn(8, 512), torch.randn(40, 512)
    labels = torch.arange(8)

    def is_on(dtype: torch.dtype, width: int, **keywords: Any) -> bool:
        parts = hidden[:, :width].to(dtype), weight[:, :width].to(dtype)
        return gradients(*parts, labels, SFT(), **keywords)[1] is not None

    assert is_on(torch.bfloat16, 512) and is_on(torch.float32, 512, compaction=BOUND)
    assert not is_on(torch.float32, 512) and not is_on(torch.bfloat16, 512, compaction="off")
    assert not is_on(torch.bfloat16, 511) and is_on(torch.bfloat16, 511, compaction=BOUND)


@pytest.mark.parametrize("wrong", [0, 0.7, -1e-3, "on", True, float("nan")])
def test_a_wrong_bound_is_named(wrong: object) -> None:
    hidden, weight, labels = trained_like(10, 8.0)
    with pytest.raises(ValueError, match="compaction must be .off. or a bound between 0 and 0.5"):
        linear_loss(hidden, weight, labels, SFT(), compaction=wrong)  # type: ignore[arg-type]
