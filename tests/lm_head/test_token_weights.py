"""Weights on tokens' losses, in every backend, against the definitions in float64."""

import pytest
import torch
from torch import Tensor

from otr.lm_head import linear_loss, logits_loss
from otr.objectives import DFT, OTR, SFT, Anchor
from tests.lm_head.backends import BACKENDS, is_interpreted
from tests.lm_head.definitions import CASES, ILL_CONDITIONED
from tests.lm_head.test_parity import FEW_TOKENS, assert_close, problem

SIZE = (255, 507, 123)
EACH_PART = ("sft", "otr-few", "otr-exact", "label-smoothing", "sft-with-bonus")
"""Objectives that together have every part of a gradient: the label, words that were drawn, the
rollout policy, the uniform distribution, the entropy."""


def weights_of(tokens: int) -> Tensor:
    """From 0 to 3, some of them 0; not a number where the label is ignored."""
    weights = 3 * torch.rand(tokens, generator=torch.Generator().manual_seed(5)).double()
    weights[::5] = 0
    weights[1::3] = torch.nan
    return weights


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_each_token_s_loss_is_weighted_in_value_and_gradient(name: str, backend: str) -> None:
    if is_interpreted(backend) and name not in EACH_PART:
        pytest.skip("every part of a gradient is interpreted once; a GPU does them all")
    dtype = torch.float32 if backend == "triton" else torch.float64
    objective, definition = CASES[name]
    tolerance = 3e-5 if dtype == torch.float32 else 1e-8 if name in ILL_CONDITIONED else 1e-12
    size = FEW_TOKENS if is_interpreted(backend) else SIZE
    hidden, weight, bias, labels = problem(*size, dtype, backend)
    weights = weights_of(size[0]).to(labels.device)
    leaves = [leaf.requires_grad_() for leaf in (hidden, weight, bias)]
    out = linear_loss(
        hidden, weight, labels, objective, bias=bias, logit_scale=0.8, logit_softcap=6.0, seed=11,
        token_weights=weights, num_tokens=7, backend=backend, return_rollouts=True,
    )  # fmt: skip

    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    logits = 6 * torch.tanh(0.8 * (doubles[0] @ doubles[1].T + doubles[2]) / 6)
    kept = labels != -100
    words = None if out.rollouts is None else out.rollouts[kept]
    loss = (weights[kept] * definition(logits[kept], labels[kept], words)).sum() / 7
    assert_close(out.loss, loss.detach(), tolerance, "loss")
    for found, wanted in zip(
        torch.autograd.grad(out.loss, leaves), torch.autograd.grad(loss, doubles), strict=True
    ):
        assert_close(found, wanted, tolerance, "gradient")
    if is_interpreted(backend):
        return
    plain = linear_loss(
        hidden, weight, labels, objective, bias=bias, logit_scale=0.8, logit_softcap=6.0, seed=11,
        backend=backend,
    )  # fmt: skip
    assert torch.equal(out.log_prob, plain.log_prob)
    assert torch.equal(out.target_weight, plain.target_weight)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_an_anchor_is_weighted_too(direction, backend: str) -> None:
    objective = DFT(anchor=Anchor(kl=0.3, direction=direction))
    hidden, weight, _, labels = problem(*FEW_TOKENS, torch.float64, backend)
    their_hidden, their_weight = hidden.flip(0), weight.flip(1)
    leaves = [leaf.requires_grad_() for leaf in (hidden, weight)]

    def loss(labels: Tensor, token_weights: Tensor | None) -> Tensor:
        return linear_loss(
            leaves[0], leaves[1], labels, objective, token_weights=token_weights, num_tokens=1, backend=backend,
            reference_hidden=their_hidden, reference_weight=their_weight,
        ).loss  # fmt: skip

    first = torch.arange(len(labels), device=labels.device) < 6
    weights = torch.where(first, 0.25, 2.0).double()
    apart = 0.25 * loss(labels.where(first, -100), None) + 2 * loss(
        labels.where(~first, -100), None
    )
    together = loss(labels, weights)
    torch.testing.assert_close(together, apart)
    for found, wanted in zip(
        torch.autograd.grad(together, leaves), torch.autograd.grad(apart, leaves), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_the_bound_of_compaction_is_on_the_weighted_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 32, generator=generator, dtype=torch.float64)
    # Most tokens are certain of their label, so that much can be left out.
    weight = torch.randn(900, 32, generator=generator, dtype=torch.float64)
    labels = (hidden @ weight.T).argmax(1)
    labels[::40] = 5
    weights = torch.rand(600, generator=generator).double()
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    bound = 2.0**-6
    kept = linear_loss(leaves[0], leaves[1], labels, SFT(), token_weights=weights, compaction=bound)
    whole = linear_loss(
        leaves[0], leaves[1], labels, SFT(), token_weights=weights, compaction="off"
    )
    assert kept.kept_fraction is not None and kept.kept_fraction < 1
    for found, wanted, allowed in zip(
        torch.autograd.grad(kept.loss, leaves),
        torch.autograd.grad(whole.loss, leaves),
        (4 * bound, bound),
        strict=True,
    ):
        assert 0 < (found - wanted).norm() <= allowed * wanted.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_are_weighted_as_hidden_states_are(backend: str) -> None:
    hidden, weight, _, labels = problem(*FEW_TOKENS, torch.float64, backend)
    weights = weights_of(len(labels)).to(labels.device)
    logits = (hidden @ weight.T).requires_grad_()
    hidden.requires_grad_()
    of_logits = logits_loss(logits, labels, OTR(), token_weights=weights, backend=backend).loss
    of_hidden = linear_loss(hidden, weight, labels, OTR(), token_weights=weights, backend=backend)
    torch.testing.assert_close(of_logits, of_hidden.loss)
    (by_logits,) = torch.autograd.grad(of_logits, logits)
    (by_hidden,) = torch.autograd.grad(of_hidden.loss, hidden)
    torch.testing.assert_close(by_logits @ weight, by_hidden)


@pytest.mark.parametrize("wrong", [torch.ones(5), torch.ones(6, dtype=torch.int64)])
def test_weights_of_another_shape_or_kind_are_refused(wrong: Tensor) -> None:
    hidden, weight, _, labels = problem(*FEW_TOKENS, torch.float32)
    with pytest.raises(ValueError, match=r"token_weights must be floating of shape \(6,\), found"):
        linear_loss(hidden, weight, labels, SFT(), token_weights=wrong)


def test_no_gradient_reaches_the_weights() -> None:
    hidden, weight, _, labels = problem(*FEW_TOKENS, torch.float32)
    weights = torch.ones(6, requires_grad=True)
    for backend in ("reference", "chunked"):
        out = linear_loss(
            hidden.requires_grad_(), weight, labels, SFT(), token_weights=weights, backend=backend
        )
        out.loss.backward()
        assert weights.grad is None
