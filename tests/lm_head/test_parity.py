"""Every backend against the definitions in float64: values and every gradient."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from otr.lm_head import HeadOutput, chunked, linear_loss, logits_loss, products
from otr.objectives import OTR, SFT, Objective
from tests.lm_head.backends import BACKENDS, device, fewer_programs, is_interpreted
from tests.lm_head.definitions import CASES, ILL_CONDITIONED, Definition

SIZES = [(255, 507, 123), (7, 130, 16), (1, 129, 3), (64, 4099, 24)]
TRANSFORMS = [(1.0, None), (0.7, None), (1.0, 8.0), (1.6, 5.0)]
ALL_COMBINATIONS = list(itertools.product(SIZES, TRANSFORMS, (True, False)))
INTERPRETED_COMBINATIONS = list(
    zip(
        [(6, 507, 24), (4, 130, 16), (3, 129, 3), (2, 4736, 24)],
        TRANSFORMS,
        (True, False, True, False),
        strict=True,
    )
)
FEW_TOKENS = (6, 507, 24)


def problem(
    tokens: int, vocabulary: int, width: int, dtype: torch.dtype, backend: str | None = None
) -> tuple[Tensor, ...]:
    """Hidden states, weight, bias and labels, a third of the labels ignored; where the backend
    wants them."""
    generator = torch.Generator().manual_seed(tokens * vocabulary)
    hidden = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(vocabulary, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, vocabulary, (tokens,), generator=generator)
    # Some labels are likely, so that draws hit them.
    logits = hidden @ weight.T
    labels[::2] = logits.argmax(-1)[::2]
    labels[1::3] = -100
    weight = 2 * weight / width**0.5
    home = device(backend)
    return *(tensor.to(home, dtype) for tensor in (hidden, weight, bias)), labels.to(home)


def gradients(out: HeadOutput, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(out.loss, leaves))


def defined(
    definition: Definition,
    leaves: list[Tensor],
    labels: Tensor,
    words: Tensor | None,
    scale: float,
    softcap: float | None,
) -> tuple[Tensor, list[Tensor]]:
    """The loss and gradients by definition, in float64."""
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    logits = doubles[0] if len(doubles) == 1 else doubles[0] @ doubles[1].T
    if len(doubles) == 3:
        logits = logits + doubles[2]
    logits = scale * logits
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    kept = labels != -100
    losses = definition(logits[kept], labels[kept], None if words is None else words[kept])
    loss = losses.sum() / max(int(kept.sum()), 1)
    return loss.detach(), list(torch.autograd.grad(loss, doubles))


def assert_close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    error = (found.double() - expected).norm() / expected.norm().clamp(min=1e-12)
    assert error <= tolerance, f"{what}: relative error {error:.2e} above {tolerance:.0e}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients_are_the_definitions(
    name: str, backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_interpreted(backend) and dtype == torch.float64:
        fewer_programs(monkeypatch)
    objective, definition = CASES[name]
    tolerance = 3e-5 if dtype == torch.float32 else 1e-8 if name in ILL_CONDITIONED else 1e-12
    # A third of all in float64, of each size, transform and bias.
    combinations = ALL_COMBINATIONS[:: 3 if dtype == torch.float64 else 1]
    if is_interpreted(backend):
        combinations = INTERPRETED_COMBINATIONS[2 if dtype == torch.float32 else 0 :]
    for size, (scale, softcap), with_bias in combinations:
        hidden, weight, bias, labels = problem(*size, dtype, backend)
        leaves = [leaf.requires_grad_() for leaf in (hidden, weight, bias)[: 3 if with_bias else 2]]
        out = linear_loss(
            hidden,
            weight,
            labels,
            objective,
            bias=bias if with_bias else None,
            logit_scale=scale,
            logit_softcap=softcap,
            seed=11,
            backend=backend,
            return_rollouts=True,
        )
        loss, expected = defined(definition, leaves, labels, out.rollouts, scale, softcap)
        case = f"{name} {backend} {size} scale {scale} softcap {softcap}"
        assert_close(out.loss, loss, tolerance, f"{case}: loss")
        for leaf, found, wanted in zip(
            ("hidden", "weight", "bias"), gradients(out, leaves), expected, strict=False
        ):
            assert found.dtype == dtype
            assert_close(found, wanted, tolerance, f"{case}: gradient of {leaf}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_logits_loss_is_the_definition(name: str, backend: str) -> None:
    objective, definition = CASES[name]
    size = FEW_TOKENS if is_interpreted(backend) else (255, 507, 123)
    hidden, weight, bias, labels = problem(*size, torch.float32, backend)
    logits = (hidden @ weight.T).requires_grad_()
    bias.requires_grad_()
    out = logits_loss(
        logits,
        labels,
        objective,
        bias=bias,
        logit_softcap=6.0,
        backend=backend,
        return_rollouts=True,
    )
    with_bias = (logits + bias).detach()
    loss, (expected,) = defined(definition, [with_bias], labels, out.rollouts, 1.0, 6.0)
    assert_close(out.loss, loss, 3e-5, "loss")
    of_logits, of_bias = gradients(out, [logits, bias])
    assert_close(of_logits, expected, 3e-5, "gradient of logits")
    assert_close(of_bias, expected.sum(0), 3e-5, "gradient of bias")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_backends_agree_on_every_statistic_and_rollout(name: str, backend: str) -> None:
    size = FEW_TOKENS if is_interpreted(backend) else (255, 507, 123)

    def output(backend: str) -> HeadOutput:
        hidden, weight, bias, labels = problem(*size, torch.float64, backend)
        return linear_loss(
            hidden, weight, labels, CASES[name][0], bias=bias, backend=backend, return_rollouts=True
        )

    found, expected = output(backend), output("reference")
    ignored = problem(*size, torch.float64)[3] == -100
    for field in ("log_prob", "entropy", "hit_rate", "reward", "target_weight", "is_top1"):
        value = getattr(found, field).cpu()
        torch.testing.assert_close(value, getattr(expected, field))
        assert (value[ignored] == 0).all()
    assert (found.rollouts is None) == (expected.rollouts is None)
    if found.rollouts is not None and expected.rollouts is not None:
        assert torch.equal(found.rollouts.cpu(), expected.rollouts)


def test_statistics_are_what_they_are_called() -> None:
    hidden, weight, _, labels = problem(255, 507, 123, torch.float64)
    objective = OTR(num_rollouts=64, temperature=1.7, wrong_reward=-0.3)
    out = linear_loss(hidden, weight, labels, objective, return_rollouts=True)
    kept = labels != -100
    logits, words = (hidden @ weight.T)[kept], out.rollouts
    assert words is not None
    pi = torch.distributions.Categorical(logits=logits)
    hit_rate = (words[kept] == labels[kept, None]).double().mean(1)
    torch.testing.assert_close(out.log_prob[kept], pi.log_prob(labels[kept]))
    torch.testing.assert_close(out.entropy[kept], pi.entropy())
    torch.testing.assert_close(out.hit_rate[kept], hit_rate)
    torch.testing.assert_close(out.reward[kept], hit_rate - 0.3 * (1 - hit_rate))
    torch.testing.assert_close(out.target_weight[kept], hit_rate)
    assert torch.equal(out.is_top1[kept] == 1, logits.argmax(-1) == labels[kept])
    assert 0.01 < hit_rate.mean() < 0.9 and hit_rate.max() > 0.1


@pytest.mark.parametrize(
    "objective", [SFT(), OTR(wrong_reward=0.0), OTR(num_rollouts="exact")], ids=str
)
@pytest.mark.parametrize("multiplies_well", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bit_inputs_lose_no_more_than_their_own_rounding(
    objective: Objective,
    multiplies_well: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "multiplies_well", lambda dtype: multiplies_well)
    hidden, weight, _, labels = problem(255, 507, 123, dtype)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    found = linear_loss(hidden, weight, labels, objective, compaction="off", num_tokens=1)
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    truth = linear_loss(*doubles, labels, objective, num_tokens=1, backend="reference")  # type: ignore[misc]
    assert abs(found.loss - truth.loss) <= 1e-5 * abs(truth.loss)
    # A product of rounded operands, summed in float32, is rounded once more.
    roundings = 2.0 if multiplies_well else 1.05
    for gradient, expected in zip(gradients(found, leaves), gradients(truth, doubles), strict=True):
        assert gradient.dtype == dtype
        rounded = (expected.to(dtype).double() - expected).norm()
        assert (gradient.double() - expected).norm() <= roundings * rounded


@pytest.mark.parametrize("short", ["both", "hidden"])
@pytest.mark.parametrize("compaction", ["off", 2.0**-9])
def test_an_accelerator_s_products_are_wired_right(
    short: str, compaction: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the products that only an accelerator has, of 16 bits into 32, made up on the CPU."""
    multiply = torch.Tensor.matmul

    def mm(left: Tensor, right: Tensor, *, out_dtype: torch.dtype, out: Any = None) -> Tensor:
        assert left.dtype == right.dtype == torch.bfloat16
        product = multiply(left.to(out_dtype), right.to(out_dtype))
        return product if out is None else out.copy_(product)

    def addmm(
        total: Tensor, left: Tensor, right: Tensor, *, out_dtype: torch.dtype, out: Tensor
    ) -> Tensor:
        return out.copy_(total + mm(left, right, out_dtype=out_dtype))

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(torch, "addmm", addmm)
    fused = products.Products(torch.float32, torch.bfloat16, fused=True)
    monkeypatch.setattr(products.Products, "of", staticmethod(lambda hidden, weight: fused))
    monkeypatch.setattr(chunked, "_CPU_CHUNK_BYTES", 64 * 507 * 6)
    hidden, weight, _, labels = problem(255, 507, 123, torch.bfloat16)
    if short == "hidden":
        weight = weight.float()
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    found = linear_loss(hidden, weight, labels, OTR(), seed=3, compaction=compaction)
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    truth = linear_loss(*doubles, labels, OTR(), seed=3, backend="reference")  # type: ignore[misc]
    assert abs(found.loss - truth.loss) <= 1e-5 * abs(truth.loss)
    for gradient, expected in zip(gradients(found, leaves), gradients(truth, doubles), strict=True):
        assert (gradient.double() - expected).norm() <= 0.01 * expected.norm()


@pytest.mark.parametrize("multiplies_well", [True, False])
def test_a_large_divisor_does_not_drown_half_precision_gradients(
    multiplies_well: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "multiplies_well", lambda dtype: multiplies_well)
    hidden, weight, _, labels = problem(64, 507, 24, torch.float16)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    plain = linear_loss(hidden, weight, labels, SFT(), num_tokens=1)
    # A gradient scaler's factor cancels the divisor, 2 ** -26 of which float16 does not have.
    divided = linear_loss(hidden, weight, labels, SFT(), num_tokens=2**26)
    expected = gradients(plain, leaves)
    for gradient, wanted in zip(
        torch.autograd.grad(divided.loss * 2**26, leaves), expected, strict=True
    ):
        torch.testing.assert_close(gradient, wanted, rtol=2e-3, atol=0)


def test_a_large_divisor_does_not_drown_the_gradient_of_half_precision_logits() -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float32)
    logits = (hidden @ weight.T).half().requires_grad_()
    (wanted,) = torch.autograd.grad(logits_loss(logits, labels, SFT(), num_tokens=1).loss, logits)
    divided = logits_loss(logits, labels, SFT(), num_tokens=2**26)
    (gradient,) = torch.autograd.grad(divided.loss * 2**26, logits)
    assert (wanted != 0).sum() > logits.numel() // 2
    torch.testing.assert_close(gradient, wanted, rtol=2e-3, atol=0)


def test_autocast_rounds_the_hidden_states_but_not_the_logits() -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float32)
    weight.requires_grad_()
    short = hidden.detach().bfloat16().requires_grad_()
    plain = linear_loss(short, weight, labels, SFT())
    wanted = torch.autograd.grad(plain.loss, [short, weight])
    hidden = hidden.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = linear_loss(hidden, weight, labels, SFT())
    gradients = torch.autograd.grad(out.loss, [hidden, weight])
    assert torch.equal(out.loss, plain.loss)
    assert gradients[0].dtype == gradients[1].dtype == torch.float32
    assert torch.equal(gradients[0], wanted[0].float())
    assert torch.equal(gradients[1], wanted[1])


def test_a_common_offset_of_the_logits_does_not_matter() -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float64)
    for objective, _ in CASES.values():
        at_zero = linear_loss(hidden, weight, labels, objective, return_rollouts=True)
        bias = torch.full((507,), 1e6, dtype=torch.float64)
        far = linear_loss(hidden, weight, labels, objective, bias=bias, return_rollouts=True)
        torch.testing.assert_close(far.loss, at_zero.loss, rtol=1e-7, atol=1e-9)
        assert far.rollouts is None or torch.equal(far.rollouts, at_zero.rollouts)  # type: ignore[arg-type]


def test_a_large_common_offset_of_float32_logits_changes_no_gradient() -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float32)
    # Multiples of 1/8, which an offset of 2^19 leaves exact; the logarithm of a sum it would not.
    logits = ((hidden @ weight.T) * 8).round() / 8
    for objective, _ in CASES.values():
        found = []
        for offset in (0.0, 2.0**19):
            leaf = (logits + offset).requires_grad_()
            out = logits_loss(leaf, labels, objective, backend="chunked")
            found += gradients(out, [leaf])
        assert torch.equal(*found)


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    logits = torch.zeros(3, 300)
    logits[0, 0], logits[1, 1], logits[2] = 1e4, -1e4, 3e4
    labels = torch.tensor([5, 1, 7])
    # pi / (1 - pi) of a certain word is infinite by definition, so `unlikely` is left out.
    for objective, _ in (case for name, case in CASES.items() if name != "unlikely"):
        leaf = logits.clone().requires_grad_()
        out = logits_loss(leaf, labels, objective)
        assert out.loss.isfinite() and (out.log_prob <= 0).all()
        assert gradients(out, [leaf])[0].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_tokens_without_supervision_change_nothing_but_the_divisor(backend: str) -> None:
    size = FEW_TOKENS if is_interpreted(backend) else (255, 507, 123)
    hidden, weight, _, labels = problem(*size, torch.float32, backend)
    kept = labels != -100
    out = linear_loss(hidden, weight, labels, SFT(), backend=backend)
    alone = linear_loss(hidden[kept], weight, labels[kept], SFT(), backend=backend)
    torch.testing.assert_close(out.loss, alone.loss)
    halved = linear_loss(
        hidden, weight, labels, SFT(), backend=backend, num_tokens=2 * int(kept.sum())
    )
    torch.testing.assert_close(halved.loss, out.loss / 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_without_any_supervision_gives_zero_and_zero_gradients(backend: str) -> None:
    home = device(backend)
    hidden = torch.randn(4, 8, requires_grad=True, device=home)
    weight = torch.randn(20, 8, requires_grad=True, device=home)
    labels = torch.full((4,), -100, device=home)
    out = linear_loss(hidden, weight, labels, OTR(), backend=backend)
    assert out.loss == 0
    assert all((gradient == 0).all() for gradient in gradients(out, [hidden, weight]))


def test_a_frozen_head_gets_no_gradient_and_none_is_made() -> None:
    hidden, weight, bias, labels = problem(255, 507, 123, torch.float32)
    hidden.requires_grad_()
    made = shapes_made(lambda: linear_loss(hidden, weight, labels, OTR(), bias=bias))
    assert (507, 123) not in made
    trained = weight.clone().requires_grad_()
    assert (507, 123) in shapes_made(lambda: linear_loss(hidden, trained, labels, OTR()))
    out = linear_loss(hidden, weight, labels, OTR(), bias=bias)
    assert gradients(out, [hidden])[0].norm() > 0


def test_the_chunked_head_never_holds_the_logits_of_all_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunked, "_CPU_CHUNK_BYTES", 64 * 4099 * 4)
    hidden, weight, bias, labels = problem(1024, 4099, 24, torch.float32)
    leaves = [leaf.requires_grad_() for leaf in (hidden, weight, bias)]
    for objective, _ in CASES.values():

        def step(objective: Objective = objective) -> None:
            linear_loss(hidden, weight, labels, objective, bias=bias).loss.backward()

        largest = max(torch.Size(shape).numel() for shape in shapes_made(step))
        rollouts = 128 * 64 * objective.needs().num_rollouts
        assert largest <= max(64 * 4099, rollouts, 4099 * 24), objective.name
    assert all(leaf.grad is not None for leaf in leaves)


def test_without_gradients_wanted_none_are_made() -> None:
    hidden, weight, _, labels = problem(64, 507, 24, torch.float32)
    hidden.requires_grad_()
    with torch.no_grad():
        assert (64, 24) not in shapes_made(lambda: linear_loss(hidden, weight, labels, SFT()))
        assert not linear_loss(hidden, weight, labels, SFT()).loss.requires_grad


def shapes_made(step) -> set[tuple[int, ...]]:  # type: ignore[no-untyped-def]
    """Shapes of all tensors that are made while `step` runs, views of others left out."""
    shapes: set[tuple[int, ...]] = set()

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            known = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, Tensor)}
            for value in out if isinstance(out, tuple | list) else (out,):
                if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in known:
                    shapes.add(tuple(value.shape))
            return out

    with Recorder():
        step()
    return shapes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(4, 9)}, "share their width"),
        ({"hidden": torch.zeros(2, 2, 8)}, "hidden must be a floating matrix"),
        ({"weight": torch.zeros(20, 8, dtype=torch.int64)}, "weight must be a floating matrix"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, "labels must be int64 of shape (4,)"),
        ({"labels": torch.zeros(4, dtype=torch.int32)}, "labels must be int64"),
        ({"labels": torch.tensor([0, 1, 2, 20])}, "below the vocabulary's size 20, found 20"),
        ({"labels": torch.tensor([0, 1, 2, -1])}, "found -1"),
        ({"bias": torch.zeros(8)}, "bias must have shape (20,)"),
        ({"bias": torch.zeros(20, device="meta")}, "bias must be on cpu"),
        ({"weight": torch.zeros(20, 8, device="meta")}, "weight must be on cpu"),
        ({"token_weights": torch.ones(4, device="meta")}, "found meta: move it there"),
        ({"token_keys": torch.zeros(4)}, "token_keys must be int64"),
        ({"logit_softcap": 0.0}, "logit_softcap must be above 0"),
        ({"backend": "chunky"}, "did you mean 'chunked'"),
        ({"objective": "otr"}, "objective must be one of otr's"),
    ],
)
def test_a_wrong_argument_is_named(change: dict, message: str) -> None:
    arguments = {
        "hidden": torch.zeros(4, 8),
        "weight": torch.zeros(20, 8),
        "labels": torch.zeros(4, dtype=torch.int64),
        "objective": SFT(),
    } | change
    with pytest.raises(ValueError) as error:
        linear_loss(**arguments)
    assert message in str(error.value)
