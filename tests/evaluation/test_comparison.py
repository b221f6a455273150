"""Comparing run folders: the learning rate by validation, pairs by seed, verdicts in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from otr.errors import UserError
from otr.evaluation.comparison import compare, read_run
from otr.evaluation.table import percent, table

LEARNED, KEPT, VALIDATION = "demo/in_domain", "demo/retention", "demo/validation"


def write_run(
    folder: Path,
    objective: dict[str, Any],
    seed: int,
    accuracy: float,
    *,
    rate: float = 1e-4,
    validation: float = 0.5,
    retention: float = 0.5,
    n: int = 1000,
) -> Path:
    """A run folder with a configuration and scores, and nothing else."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        json.dumps({"objective": objective, "training": {"learning_rate": rate}, "seed": seed})
    )
    shares = {LEARNED: accuracy, KEPT: retention, VALIDATION: validation}
    scores = {name: {"accuracy": share, "n": n} for name, share in shares.items()}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def compared(runs: list[Path], untuned: dict[str, Any] | None = None, **options: Any):
    return compare(
        "regime",
        [read_run(run) for run in runs],
        benchmarks=[LEARNED, KEPT],
        validation=VALIDATION,
        untuned=untuned,
        **options,
    )


def study(root: Path, sft: list[float], otr: list[float]) -> list[Path]:
    """One run a seed for each of two objectives."""
    return [
        write_run(root / f"{name}-{seed}", {"name": name}, seed, accuracy)
        for name, accuracies in (("sft", sft), ("otr", otr))
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("otr", "words"),
    [
        ([0.80, 0.91, 0.72], "OTR ahead of SFT by 11.0 ± 2.5 points"),
        ([0.60, 0.71, 0.52], "OTR behind SFT by 9.0 ± 2.5 points"),
        ([0.75, 0.80, 0.58], "OTR and SFT are not distinguishable: +1.0 ± 9.0 points"),
        ([0.70, 0.80, 0.60], "OTR and SFT are not distinguishable: +0.0 ± 0.1 points"),
    ],
)
def test_the_verdict_says_what_the_paired_interval_says(
    tmp_path: Path, otr: list[float], words: str
) -> None:
    assert compared(study(tmp_path, [0.70, 0.80, 0.60], otr)).verdicts() == [words]


def test_pairing_sees_what_the_spread_between_seeds_hides(tmp_path: Path) -> None:
    result = compared(study(tmp_path, [0.70, 0.80, 0.60], [0.73, 0.83, 0.63]))
    sft, otr = (objective.accuracy[LEARNED] for objective in result.objectives)
    assert sft.half_width is not None and sft.half_width > 0.2
    assert abs(otr.mean - sft.mean) < sft.half_width
    assert result.verdicts() == ["OTR ahead of SFT by 3.0 ± 0.1 points"]


def test_other_benchmarks_speak_only_where_there_is_a_difference(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"{name}-{seed}", {"name": name}, seed, 0.5, retention=kept)
        for name, all_kept in (("sft", (0.5, 0.6, 0.7)), ("dft", (0.8, 0.5, 0.6)))
        for seed, kept in enumerate(all_kept)
    ]
    otr = [
        write_run(tmp_path / f"otr-{seed}", {"name": "otr"}, seed, 0.5, retention=kept)
        for seed, kept in enumerate((0.60, 0.71, 0.82))
    ]
    result = compared(runs + otr)
    assert result.side_verdicts() == [f"{KEPT}: OTR ahead of SFT by 11.0 ± 2.5 points"]
    assert table(result).splitlines()[-1] == result.side_verdicts()[0]


def test_one_run_each_gives_no_verdict(tmp_path: Path) -> None:
    assert compared(study(tmp_path, [0.5], [0.9])).verdicts() == [
        "OTR and SFT: +40.0 points in one run each: no verdict"
    ]


def test_the_learning_rate_is_chosen_on_validation_alone(tmp_path: Path) -> None:
    runs = [
        # Better on what is compared, worse on validation: must not be kept.
        write_run(tmp_path / "a", {"name": "sft"}, 0, 0.99, rate=1e-3, validation=0.6),
        write_run(tmp_path / "b", {"name": "sft"}, 0, 0.50, rate=1e-4, validation=0.7),
        # Equal on validation: the lower rate.
        write_run(tmp_path / "c", {"name": "otr"}, 0, 0.99, rate=1e-3, validation=0.7),
        write_run(tmp_path / "d", {"name": "otr"}, 0, 0.40, rate=1e-4, validation=0.7),
    ]
    result = compared(runs)
    assert [objective.learning_rate for objective in result.objectives] == [1e-4, 1e-4]
    assert [objective.accuracy[LEARNED].mean for objective in result.objectives] == [0.5, 0.4]
    assert result.objectives[0].validation == {1e-4: 0.7, 1e-3: 0.6}


def test_objectives_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    exact = {"name": "otr", "num_rollouts": "exact", "temperature": 1.3}
    sampled = {"name": "otr", "num_rollouts": 256, "temperature": 1.3}
    runs = [
        write_run(tmp_path / str(index), objective, seed=0, accuracy=0.5)
        for index, objective in enumerate([{"name": "sft"}, exact, sampled])
    ]
    assert [objective.label for objective in compared(runs).objectives] == [
        "SFT",
        "OTR (num_rollouts=exact)",
        "OTR (num_rollouts=256)",
    ]


def test_forgetting_is_the_change_from_the_untuned_model(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / str(seed), {"name": "sft"}, seed, 0.9, retention=kept)
        for seed, kept in enumerate([0.5, 0.7])
    ]
    untuned = {LEARNED: {"accuracy": 0.4}, KEPT: {"accuracy": 0.8}}
    result = compared(runs, untuned)
    assert result.objectives[0].change[LEARNED].mean == pytest.approx(0.5)
    assert result.objectives[0].change[KEPT].values == pytest.approx((-0.3, -0.1))
    # t(1) = 12.706, s / sqrt(2) = 0.1
    change = result.objectives[0].change
    assert percent(change[LEARNED], signed=True) == "+50.0 ± 0.1"
    assert percent(change[KEPT], signed=True) == "-20.0 ± 127.1"


def test_the_table_shows_the_untuned_model_every_objective_and_the_verdicts(
    tmp_path: Path,
) -> None:
    runs = study(tmp_path, [0.70, 0.80, 0.60], [0.80, 0.91, 0.72])
    text = table(compared(runs, {LEARNED: {"accuracy": 0.144}, KEPT: {"accuracy": 0.5}}))
    lines = text.splitlines()
    assert lines[0] == "regime: percent right, mean ± 95 % interval over 3 seeds"
    assert lines[1].split("   ")[-1] == "in_domain minus SFT"
    assert lines[2].split() == ["untuned", "14.4", "50.0"]
    assert lines[3].split()[:5] == ["SFT", "0.0001", "70.0", "±", "24.8"]
    assert lines[4].split()[-3:] == ["+11.0", "±", "2.5"]
    assert lines[5] == "OTR ahead of SFT by 11.0 ± 2.5 points"


def test_the_comparison_goes_into_json_whole(tmp_path: Path) -> None:
    result = compared(study(tmp_path, [0.70, 0.80, 0.60], [0.80, 0.91, 0.72]))
    again = json.loads(json.dumps(result.as_json()))
    difference = again["objectives"][1]["difference"][LEARNED]
    assert difference["mean"] == pytest.approx(0.11)
    assert difference["p_value"] == pytest.approx(0.002747, abs=1e-5)
    assert again["verdicts"] == result.verdicts()


def test_a_run_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", {"name": "sft"}, 0, 0.5)
    with pytest.raises(UserError, match="is not a run folder"):
        read_run(tmp_path / "nothing")
    with pytest.raises(UserError, match="missing: 'training'"):
        run = write_run(tmp_path / "bare", {"name": "sft"}, 0, 0.5)
        (run / "config.yaml").write_text("objective: {name: sft}\nseed: 0\n")
        read_run(run)
    with pytest.raises(UserError, match="same objective, learning rate and seed"):
        compared([good, write_run(tmp_path / "twin", {"name": "sft"}, 0, 0.6)])
    with pytest.raises(UserError, match="scored on 10 questions.*on 1000"):
        compared([good, write_run(tmp_path / "few", {"name": "sft"}, 1, 0.6, n=10)])
    with pytest.raises(UserError, match="has no 'demo/longer'"):
        compare("x", [read_run(good)], benchmarks=["demo/longer"], validation=VALIDATION)
    with pytest.raises(UserError, match="no runs"):
        compared([])
