"""An anchor to a reference policy, against its definition in float64."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from otr.lm_head import chunked, linear_loss, logits_loss
from otr.objectives import DFT, OTR, SFT, Anchor, Objective, Power
from tests.lm_head.backends import BACKENDS, device
from tests.lm_head.definitions import Definition, dft, otr_exact, power, sft
from tests.lm_head.test_parity import assert_close, problem

Direction = Literal["forward", "reverse"]
BASES: dict[str, tuple[Any, dict[str, Any], Definition]] = {
    "sft": (SFT, {}, sft),
    "dft": (DFT, {}, dft),
    "power": (Power, {"alpha": 0.5}, power(0.5)),
    "otr": (OTR, {"num_rollouts": "exact"}, otr_exact(1.3, -0.1)),
}


def reference(tokens: int, vocabulary: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Of another width than the policy."""
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, 5, generator=generator, dtype=torch.float64)
    return hidden.to(dtype), torch.randn(
        vocabulary, 5, generator=generator, dtype=torch.float64
    ).to(dtype)


def log_policy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Logits and log-probabilities."""
    logits = scale * (hidden @ weight.T + (0 if bias is None else bias))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits, logits.log_softmax(-1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients_are_the_definitions(
    base: str, direction: Direction, backend: str, dtype: torch.dtype
) -> None:
    kind, options, definition = BASES[base]
    objective: Objective = kind(anchor=Anchor(kl=0.3, direction=direction), **options)
    home = device(backend)
    for scale, softcap in ((1.0, None), (0.7, 6.0)):
        hidden, weight, bias, labels = problem(13, 507, 24, dtype)
        their_hidden, their_weight = reference(13, 507, dtype)
        leaves = [leaf.to(home).requires_grad_() for leaf in (hidden, weight, bias)]
        out = linear_loss(
            leaves[0],
            leaves[1],
            labels.to(home),
            objective,
            bias=leaves[2],
            logit_scale=scale,
            logit_softcap=softcap,
            backend=backend,
            reference_hidden=their_hidden.to(home),
            reference_weight=their_weight.to(home),
        )
        found = [gradient.cpu() for gradient in torch.autograd.grad(out.loss, leaves)]

        doubles = [leaf.detach().cpu().double().requires_grad_() for leaf in leaves]
        kept = labels != -100
        logits, log_pi = log_policy(*doubles, scale, softcap)
        _, log_rho = log_policy(their_hidden.double(), their_weight.double(), None, scale, softcap)
        first, second = (log_rho, log_pi) if direction == "forward" else (log_pi, log_rho)
        divergence = (first.exp() * (first - second)).sum(-1)[kept]
        losses = definition(logits[kept], labels[kept], None) + 0.3 * divergence
        loss = losses.sum() / kept.sum()
        tolerance = 3e-5 if dtype == torch.float32 else 1e-12
        assert_close(out.loss.detach().cpu(), loss.detach(), tolerance, "loss")
        for gradient, expected in zip(found, torch.autograd.grad(loss, doubles), strict=True):
            assert_close(gradient, expected, tolerance, "gradient")


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_policy_that_is_its_own_reference_feels_no_pull(direction: Direction) -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float64)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]

    def gradients(objective: Objective, **reference: Any) -> tuple[Tensor, ...]:
        out = linear_loss(leaves[0], leaves[1], labels, objective, **reference)
        return torch.autograd.grad(out.loss, leaves)

    plain = gradients(SFT())
    anchored = gradients(
        SFT(anchor=Anchor(kl=5.0, direction=direction)),
        reference_hidden=hidden,
        reference_weight=weight,
    )
    for gradient, expected in zip(anchored, plain, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_autocast_rounds_the_reference_as_it_does_the_policy(direction: Direction) -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = linear_loss(hidden, weight, labels, SFT())
        anchored = linear_loss(
            hidden, weight, labels, SFT(anchor=Anchor(kl=1e3, direction=direction)),
            reference_hidden=hidden, reference_weight=weight,
        )  # fmt: skip
    # Rounded on one side alone, the two are 5e-6 nats apart, and 0.005 in this loss.
    torch.testing.assert_close(anchored.loss, plain.loss, rtol=0, atol=1e-5)


def test_chunks_and_ignored_labels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _, labels = problem(255, 507, 24, torch.float64)
    their_hidden, their_weight = reference(255, 507, torch.float64)
    objective = SFT(anchor=Anchor())

    def loss(kept: Tensor) -> Tensor:
        return linear_loss(
            hidden[kept], weight, labels[kept], objective,
            reference_hidden=their_hidden[kept], reference_weight=their_weight,
        ).loss  # fmt: skip

    whole = loss(torch.ones(255, dtype=torch.bool))
    monkeypatch.setattr(chunked, "_CPU_CHUNK_BYTES", 40 * 507 * 16)
    torch.testing.assert_close(loss(torch.ones(255, dtype=torch.bool)), whole)
    torch.testing.assert_close(loss(labels != -100), whole)


def test_a_missing_or_needless_reference_is_named() -> None:
    hidden, weight, _, labels = problem(13, 507, 24, torch.float32)
    their_hidden, their_weight = reference(13, 507, torch.float32)
    anchored = SFT(anchor=Anchor())
    with pytest.raises(ValueError, match="pass reference_hidden and reference_weight"):
        linear_loss(hidden, weight, labels, anchored)
    with pytest.raises(ValueError, match="belong together, and to an objective with an anchor"):
        linear_loss(
            hidden, weight, labels, SFT(),
            reference_hidden=their_hidden, reference_weight=their_weight,
        )  # fmt: skip
    with pytest.raises(ValueError, match="must have 13 and 507 rows"):
        linear_loss(
            hidden, weight, labels, anchored,
            reference_hidden=their_hidden, reference_weight=their_weight[:-1],
        )  # fmt: skip
    with pytest.raises(ValueError, match="use linear_loss"):
        logits_loss(hidden @ weight.T, labels, anchored)
