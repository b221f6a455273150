"""Rollouts: the right law, and the same words wherever a token is computed."""

import pytest
import torch
from scipy import stats

from otr import lm_head
from otr.lm_head import chunked, linear_loss, logits_loss
from otr.lm_head.rollouts import philox
from otr.objectives import OTR
from tests.lm_head.backends import (
    BACKENDS,
    FAST_BACKENDS,
    device,
    fewer_programs,
    is_interpreted,
    needs_triton,
)


def drawn(logits: torch.Tensor, labels: torch.Tensor, objective: OTR, **keywords) -> torch.Tensor:  # type: ignore[no-untyped-def]
    home = device(keywords.get("backend"))
    if "token_keys" in keywords:
        keywords["token_keys"] = keywords["token_keys"].to(home)
    words = logits_loss(
        logits.to(home), labels.to(home), objective, return_rollouts=True, **keywords
    ).rollouts
    assert words is not None
    return words.cpu()


@pytest.mark.parametrize(
    ("seed", "counter", "words"),
    [
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            0xFFFFFFFFFFFFFFFF,
            (0xFFFFFFFF,) * 4,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_gives_the_published_known_answers(
    seed: int, counter: tuple[int, ...], words: tuple[int, ...]
) -> None:
    found = philox(seed, tuple(torch.tensor([word]) for word in counter))  # type: ignore[arg-type]
    assert tuple(int(word) for word in found) == words


LAWS = [
    pytest.param(backend, label, temperature, marks=needs_triton if backend == "triton" else ())
    for backend in lm_head.BACKENDS
    for label in (0, 57, 299)
    for temperature in (0.7, 1.0, 1.3, 3.0)
    if not is_interpreted(backend) or label == 57 or temperature == 1.3
]


@pytest.mark.parametrize(("backend", "label", "temperature"), LAWS)
def test_draws_follow_the_rollout_policy(
    backend: str, label: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = 2 * torch.randn(1, 300, generator=torch.Generator().manual_seed(3))
    num_draws = 200_000
    if is_interpreted(backend):
        if label != 57 and temperature != 1.3:
            pytest.skip(
                "one label at a time, or one temperature, where the kernels are interpreted"
            )
        num_draws = 20_000
        fewer_programs(monkeypatch)
    objective = OTR(num_rollouts=1000, temperature=temperature)
    rows = logits.expand(num_draws // 1000, -1)
    labels = torch.full((len(rows),), label)
    words = drawn(rows, labels, objective, backend=backend, seed=5).flatten()
    expected = num_draws * (logits[0].double() / temperature).softmax(-1)
    order = expected.argsort(descending=True)
    common = order[expected[order] >= 10]
    counts = torch.bincount(words, minlength=300).double()
    seen, wanted = [counts[common], expected[common]]
    rest = num_draws - seen.sum(), num_draws - wanted.sum()
    if rest[1] > 1:
        seen, wanted = torch.cat([seen, rest[0][None]]), torch.cat([wanted, rest[1][None]])
    assert stats.chisquare(seen, wanted * (seen.sum() / wanted.sum())).pvalue > 1e-3


def test_draws_of_one_token_are_independent_of_each_other() -> None:
    rows = torch.tensor([[0.0, 0.0, 1.0, -1.0]]).expand(20_000, -1)
    words = drawn(rows, torch.full((len(rows),), 2), OTR(num_rollouts=8, temperature=1.0))
    for other in range(1, 8):
        table = torch.zeros(4, 4).index_put_(
            (words[:, 0], words[:, other]), torch.ones(len(rows)), accumulate=True
        )
        assert stats.chi2_contingency(table).pvalue > 1e-3  # type: ignore[attr-defined]


def test_the_tail_of_a_large_vocabulary_is_drawn() -> None:
    vocabulary = 262_144
    logits = torch.zeros(1, vocabulary)
    logits[0, 0] = 16.0
    # The tail holds 2.9 % of the mass, each of its words 1.1e-7: a float32 running sum over
    # words, or noise floored at 2**-24, would lose much of it.
    share = float(logits.double().softmax(-1)[0, 1:].sum())
    rows = logits.expand(40, -1)
    words = drawn(rows, torch.zeros(40, dtype=torch.int64), OTR(num_rollouts=1000, temperature=1.0))
    tail = words[words > 0]
    assert abs(len(tail) / words.numel() - share) < 4 * (share / words.numel()) ** 0.5
    assert stats.kstest(tail.double() / vocabulary, "uniform").pvalue > 1e-3


def test_an_improbable_label_is_hit_as_often_as_its_probability_says() -> None:
    logits = torch.zeros(1, 2)
    logits[0, 1] = -9.0
    rows = logits.expand(500, -1)
    words = drawn(rows, torch.ones(500, dtype=torch.int64), OTR(num_rollouts=2000, temperature=1.0))
    expected = words.numel() * float(logits.double().softmax(-1)[0, 1])
    assert abs(float((words == 1).sum()) - expected) < 4 * expected**0.5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("least_chance", [0.0, 0.003])
def test_order_subset_and_chunk_of_the_tokens_change_no_rollout(
    backend: str, least_chance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_tokens, vocabulary, at_once = 300, 777, 17
    if is_interpreted(backend):
        num_tokens, vocabulary, at_once = 6, 259, 4
        fewer_programs(monkeypatch)
    generator = torch.Generator().manual_seed(9)
    logits = 2 * torch.randn(num_tokens, vocabulary, generator=generator)
    labels = torch.randint(0, vocabulary, (num_tokens,), generator=generator)
    labels[::7] = -100
    keys = torch.randint(-(2**62), 2**62, (num_tokens,), generator=generator)
    objective = OTR(num_rollouts=33, least_chance=least_chance)
    whole = drawn(logits, labels, objective, token_keys=keys, seed=2**63 + 5, backend=backend)

    order = torch.randperm(num_tokens, generator=generator)
    permuted = drawn(
        logits[order], labels[order], objective,
        token_keys=keys[order], seed=2**63 + 5, backend=backend,
    )  # fmt: skip
    assert torch.equal(permuted, whole[order])

    part = torch.arange(num_tokens) % 3 == 1
    alone = drawn(
        logits[part], labels[part], objective,
        token_keys=keys[part], seed=2**63 + 5, backend=backend,
    )  # fmt: skip
    assert torch.equal(alone, whole[part])

    for room in ("_CPU_CHUNK_BYTES", "_ACCELERATOR_CHUNK_BYTES"):
        monkeypatch.setattr(chunked, room, at_once * vocabulary * 4)
    rechunked = drawn(logits, labels, objective, token_keys=keys, seed=2**63 + 5, backend=backend)
    assert torch.equal(rechunked, whole)
    assert (whole[labels == -100] == -1).all() and (whole[labels != -100] >= 0).all()

    other = drawn(logits, labels, objective, token_keys=keys, seed=2**63 + 6, backend=backend)
    assert (other != whole)[labels != -100].double().mean() > 0.5


def test_more_rollouts_begin_with_the_fewer() -> None:
    logits = torch.randn(20, 400, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(20, dtype=torch.int64)
    many = drawn(logits, labels, OTR(num_rollouts=50))
    assert torch.equal(drawn(logits, labels, OTR(num_rollouts=13)), many[:, :13])


def test_rollouts_from_hidden_states_do_not_depend_on_the_rows_around_them() -> None:
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(200, 64, generator=generator)
    weight = torch.randn(900, 64, generator=generator) / 8
    labels = torch.randint(0, 900, (200,), generator=generator)
    keys, objective = torch.arange(200), OTR(num_rollouts=64)

    def words(rows: torch.Tensor) -> torch.Tensor:
        out = linear_loss(
            hidden[rows], weight, labels[rows], objective, token_keys=keys[rows],
            return_rollouts=True,
        )  # fmt: skip
        assert out.rollouts is not None
        return out.rollouts

    whole, split = words(keys), torch.cat([words(rows) for rows in keys.split(23)])
    # Matrix products of other heights round otherwise, so a draw at a boundary may differ.
    assert (whole != split).double().mean() < 1e-4


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@pytest.mark.parametrize(
    "options",
    [{"wrong_reward": 0.0}, {"wrong_reward": -0.1}, {"least_chance": 0.03}, {"sft_share": 0.4}],
    ids=str,
)
def test_the_sampled_gradient_averages_to_the_exact_one(backend: str, options: dict) -> None:
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(12, 40, generator=generator, dtype=torch.float64).to(device(backend))
    labels = torch.randint(0, 40, (12,), generator=generator).to(device(backend))

    def gradient(objective: OTR, seed: int) -> torch.Tensor:
        leaf = logits.clone().requires_grad_()
        logits_loss(leaf, labels, objective, seed=seed, backend=backend).loss.backward()
        assert leaf.grad is not None
        return leaf.grad

    exact = gradient(OTR(num_rollouts="exact", **options), 0)
    sampled = torch.stack([gradient(OTR(num_rollouts=64, **options), seed) for seed in range(250)])
    standard_error = sampled.std(0) / 250**0.5
    z_scores = (sampled.mean(0) - exact) / standard_error.clamp(min=1e-12)
    # 480 entries: the squares of unit normals average to 1 within a few times (2 / 480)^0.5.
    assert z_scores.abs().max() < 5
    assert abs(float(z_scores.square().mean()) - 1) < 0.5


def test_at_temperature_one_exact_otr_is_scaled_dft() -> None:
    from otr.objectives import DFT

    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(30, 50, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 50, (30,), generator=generator)

    def gradient(objective) -> torch.Tensor:  # type: ignore[no-untyped-def]
        leaf = logits.clone().requires_grad_()
        return torch.autograd.grad(logits_loss(leaf, labels, objective).loss, leaf)[0]

    otr = gradient(OTR(num_rollouts="exact", temperature=1.0, wrong_reward=-0.25))
    torch.testing.assert_close(otr, 1.25 * gradient(DFT()), rtol=1e-12, atol=1e-15)


def test_the_gradient_stays_within_its_bound() -> None:
    generator = torch.Generator().manual_seed(10)
    logits = 3 * torch.randn(200, 90, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 90, (200,), generator=generator)
    leaf = logits.requires_grad_()
    out = logits_loss(leaf, labels, OTR(), num_tokens=1)
    (gradient,) = torch.autograd.grad(out.loss, leaf)
    p, a = out.log_prob.exp(), out.hit_rate
    assert (gradient.abs().sum(1) <= 2 * a * (1 - p) + 0.2 * (1 - a) + 1e-12).all()
