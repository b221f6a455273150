"""Options of the objectives, and their names in a run file."""

import pytest

from otr.objectives import ALL, DFT, OTR, SFT, Anchor, objective_from_options, options_of


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
        ({}, "objective.name must be one of"),
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


def test_objectives_are_frozen() -> None:
    with pytest.raises(AttributeError):
        OTR().temperature = 2.0  # type: ignore[misc]
