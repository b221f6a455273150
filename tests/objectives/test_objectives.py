"""Options of the objectives, and their names in a run file."""

import pytest

from otr.objectives import ALL, DFT, OTR, SFT, objective_from_options, options_of


def test_a_run_file_and_python_give_the_same_objective() -> None:
    assert objective_from_options({"name": "otr"}) == OTR()
    assert objective_from_options({"name": "otr", "num_rollouts": "exact"}) == OTR(
        num_rollouts="exact"
    )
    assert objective_from_options({"name": "sft"}) == SFT() != DFT()
    for kind in ALL:
        assert objective_from_options(options_of(kind())) == kind()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ort"}, "objective.name must be one of sft, dft, otr, found 'ort'; did you mean"),
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
    ],
)
def test_a_wrong_option_is_named_with_the_way_out(options: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        objective_from_options(options)
    assert message in str(error.value)


def test_objectives_are_frozen() -> None:
    with pytest.raises(AttributeError):
        OTR().temperature = 2.0  # type: ignore[misc]
