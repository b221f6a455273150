"""Options of the objectives, and their names in a run file."""

import pytest
import torch

from otr import logits_loss
from otr.objectives import (
    ALL,
    DFT,
    OTR,
    SFT,
    Anchor,
    Statistics,
    in_words,
    objective_from_options,
    options_of,
)


def test_a_run_file_and_python_give_the_same_objective() -> None:
    assert objective_from_options({"name": "otr"}) == OTR()
    assert objective_from_options({"name": "otr", "num_rollouts": "exact"}) == OTR(
        num_rollouts="exact"
    )
    assert objective_from_options({"name": "sft"}) == SFT() != DFT()
    for kind in ALL:
        assert objective_from_options(options_of(kind())) == kind()
    anchored = SFT(anchor=Anchor(kl=0.2, direction="reverse"))
    assert objective_from_options(options_of(anchored)) == anchored


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "ort"},
            "objective.name must be one of sft, label-smoothing, otr, dft, power, eaft, focal, gem, "
            "unlikelihood, found 'ort'; did you mean 'otr'",
        ),
        ({}, "objective.name: is missing; add one of sft, "),
        ({"name": "otr", "num_rollout": 5}, "did you mean 'num_rollouts'"),
        ({"name": "sft", "temperature": 1.0}, "objective.temperature: sft has no such option"),
        ({"name": "otr", "num_rollouts": 0}, "objective.num_rollouts must be a whole number"),
        ({"name": "otr", "num_rollouts": 2.5}, "found 2.5; or `exact`"),
        ({"name": "otr", "num_rollouts": "many"}, "found 'many'; or `exact`"),
        ({"name": "otr", "num_rollouts": True}, "found True"),
        ({"name": "otr", "temperature": 0}, "objective.temperature must be above 0, found 0"),
        ({"name": "otr", "temperature": float("nan")}, "must be a finite number"),
        ({"name": "otr", "temperature": "hot"}, "must be a finite number, found 'hot'"),
        ({"name": "otr", "wrong_reward": 1}, "objective.wrong_reward must be below 1, found 1"),
        ({"name": "otr", "wrong_reward": None}, "found None"),
        (
            {"name": "otr", "least_chance": 1},
            "least_chance must be at least 0 and below 1, found 1",
        ),
        (
            {"name": "otr", "least_chance": 0.1, "max_temperature": 1.0},
            "objective.max_temperature must be at least the temperature, 1.3, found 1.0",
        ),
        ({"name": "otr", "sft_share": 1.1}, "sft_share must be at least 0 and at most 1"),
        ({"name": "otr", "sft_until": -1}, "sft_until must be at least 0 and at most 1"),
        ({"name": "sft", "anchor": {"kl": 0}}, "objective.anchor.kl must be above 0, found 0"),
        ({"name": "sft", "anchor": {"k": 1}}, "objective.anchor.k: no such option"),
        ({"name": "sft", "anchor": {"direction": "up"}}, "anchor.direction must be forward or"),
        ({"name": "sft", "anchor": 0.1}, "objective.anchor must be an Anchor (in a run file"),
        ({"name": "otr", "floor": -0.1}, "objective.floor must be at least 0, found -0.1"),
        ({"name": "sft", "entropy_bonus": "much"}, "objective.entropy_bonus must be a finite"),
        ({"name": "label-smoothing", "epsilon": 1}, "epsilon must be at least 0 and below 1"),
        ({"name": "power", "alpha": -1}, "objective.alpha must be at least 0, found -1"),
        ({"name": "power", "threshold": 1.0}, "threshold must be at least 0 and below 1"),
        ({"name": "eaft", "alpha": float("inf")}, "objective.alpha must be a finite number"),
        ({"name": "focal", "gamma": 0.5}, "objective.gamma must be 0 or at least 1, found 0.5"),
        ({"name": "gem", "beta": 1.5}, "objective.beta must be above 0 and at most 1, found 1.5"),
        ({"name": "unlikelihood", "num_rollouts": "exact"}, "num_rollouts must be a whole number"),
    ],
)
def test_a_wrong_option_is_named_with_the_way_out(options: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        objective_from_options(options)
    assert message in str(error.value)


def test_in_words_only_what_is_not_as_usual_is_said() -> None:
    assert in_words(OTR()) == "otr"
    words = in_words(OTR(num_rollouts="exact", wrong_reward=-0.2))
    assert words == "otr with num_rollouts=exact, wrong_reward=-0.2"


def test_objectives_are_frozen() -> None:
    with pytest.raises(AttributeError):
        OTR().temperature = 2.0  # type: ignore[misc]


def test_a_schedule_goes_in_a_straight_line_from_sft_to_the_objective_s_own_weights() -> None:
    objective = OTR(sft_until=0.5, sft_share=0.2)
    shares = []
    for progress in (0.0, 0.125, 0.25, 0.45, 0.5, 1.0):
        now = objective.at(progress)
        assert isinstance(now, OTR)
        shares.append(now.sft_share)
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.2, 0.2, 0.2])
    assert OTR().at(0.3) == OTR()
    assert SFT().at(0.3) == SFT()


def test_a_token_is_sampled_hotter_until_its_label_has_a_chance() -> None:
    objective = OTR(temperature=1.0, least_chance=0.1, max_temperature=4.0)
    chances_T = torch.tensor([0.5, 0.05, 0.1])
    known = Statistics(log_prob_T=chances_T.log(), entropy_T=chances_T, rollout_prob_T=chances_T)
    temperatures = [objective.temperature]
    while (substitute := objective.substitute(known)) is not None:
        which_T, hotter = substitute
        assert which_T.tolist() == [False, True, False]
        assert isinstance(hotter, OTR)
        objective = hotter
        temperatures.append(hotter.temperature)
    assert temperatures == [1.0, 2.0, 4.0]
    assert OTR().substitute(known) is None


OPTIONS = [
    {},
    {"entropy_bonus": 0.5},
    {"entropy_bonus": -0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_an_objective_says_whether_its_loss_may_be_below_0(kind, options) -> None:
    objective = kind(**options)
    generator = torch.Generator().manual_seed(3)
    least = 0.0
    for spread in (0.1, 1.0, 10.0):
        logits_TV = spread * torch.randn(400, 40, generator=generator, dtype=torch.float64)
        labels_T = torch.randint(0, 40, (400,), generator=generator)
        # Each token alone, so that none is hidden in a mean.
        for row in range(0, 400, 4):
            one = logits_loss(logits_TV[row : row + 1], labels_T[row : row + 1], objective)
            least = min(least, float(one.loss))
    is_seen = least < -1e-9
    assert objective.may_be_below_zero or not is_seen
    if not options:
        assert objective.may_be_below_zero == is_seen


def test_a_reward_of_0_for_misses_leaves_otr_s_loss_above_0() -> None:
    assert not OTR(wrong_reward=0).may_be_below_zero
    assert OTR(wrong_reward=0, entropy_bonus=0.1).may_be_below_zero
