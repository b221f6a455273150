"""The harness on a tiny plan: its targets, its skipped heads, its errors and its picture."""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks import benchmark
from benchmarks import plan as plans
from benchmarks.cases import Case
from benchmarks.heads import HEADS
from benchmarks.measuring import paired_ratio
from benchmarks.picture import draw, draw_summary
from benchmarks.table import text
from tests.benchmarks.tiny import NAMES, plan, results

_RESULTS = Path(plans.__file__).parent / "results"

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The results, as they are read back from a file."""
    return json.loads(json.dumps(results()))


def target(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["targets"] if each["name"].startswith(name))


def test_a_ratio_is_made_within_each_round() -> None:
    ratio = paired_ratio([1.0, 20.0, 3.0, 4.0], [1.0, 10.0, 6.0, 1.0])
    assert ratio is not None
    # 1, 2, 0.5 and 4; the ratio of the medians would be 3.5 / 3.5.
    assert (ratio.median, ratio.lowest, ratio.highest) == (1.5, 0.5, 4.0)
    assert (ratio.lower_quartile, ratio.upper_quartile) == (0.875, 2.5)
    assert paired_ratio([1.0], []) is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quick", [False, True])
def test_every_plan_begins_with_the_main_case_and_names_each_case_once(
    device: str, quick: bool
) -> None:
    made = plans.plan(device, quick)
    names = [case.name for case in made.cases]
    assert names[0] == plans.MAIN and plans.ROLLOUTS in names
    assert len(set(names)) == len(names)
    for case in (*made.cases, *made.accuracy, *made.memory):
        assert case.heads and set(case.heads) <= set(HEADS)
    assert all(case.heads[0] == "gemms" for case in made.cases)


@pytest.mark.parametrize(
    ("name", "numerator", "denominator", "at_most"),
    [
        ("OTR, 256 rollouts / our SFT", "OTR", "SFT", 1.10),
        ("our SFT / three GEMMs", "SFT", "gemms", 1.15),
        ("OTR / TRL's SFT", "OTR", "TRL", 0.55),
    ],
)
def test_targets_follow_from_the_rounds(
    found: dict[str, Any], name: str, numerator: str, denominator: str, at_most: float
) -> None:
    heads = found["cases"][0]["heads"]
    seconds = [heads[head]["seconds"] for head in (numerator, denominator)]
    assert [len(each) for each in seconds] == [3, 3]
    by_hand = statistics.median([first / second for first, second in zip(*seconds, strict=True)])
    entry = target(found, name)
    assert entry["reached"] == pytest.approx(by_hand, rel=1e-12)
    assert entry["at_most"] == at_most
    assert entry["verdict"] == ("reached" if by_hand <= at_most else "missed")


def test_the_step_target_follows_from_its_rounds(found: dict[str, Any]) -> None:
    seconds = found["step"]["seconds"]
    ratios = [
        ours / theirs
        for ours, theirs in zip(seconds["OTRTrainer, OTR"], seconds["SFTTrainer"], strict=True)
    ]
    assert target(found, "step of")["reached"] == pytest.approx(statistics.median(ratios))


def test_a_head_that_fails_is_skipped_with_its_reason_and_without_paths(
    found: dict[str, Any],
) -> None:
    heads = found["cases"][0]["heads"]
    assert heads["failing"] == {"skipped": "RuntimeError: no kernel in <path>"}
    assert heads["failing when called"] == {"skipped": "ValueError: too few rows"}
    assert found["accuracy"][0]["heads"]["failing"] == heads["failing"]
    assert all("seconds" in heads[name] for name in NAMES)
    shown = text(found)
    assert "skipped: failing when called (ValueError: too few rows)" in shown


def test_what_was_not_measured_is_said_with_its_reason(found: dict[str, Any]) -> None:
    entry = target(found, "time of 1024 rollouts")
    assert entry["verdict"] == "not measured"
    assert entry["reason"] == "OTR K 1024: not part of this run"


def test_without_a_trained_model_its_cases_are_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr(benchmark, "demo_states", missing)
    case = Case(name="demo", rows=4, states="demo", heads=("gemms", "SFT"))
    made = dataclasses.replace(plan(), cases=(case,), accuracy=(case,))
    monkeypatch.setattr(benchmark, "measured_steps", lambda *_: missing())
    found = benchmark.run(made, "cpu", 1, quick=True)
    why = "ModuleNotFoundError: No module named 'transformers'"
    expected = dict.fromkeys(case.heads, {"skipped": f"no states: {why}"})
    assert found["cases"][0]["heads"] == found["accuracy"][0]["heads"] == expected
    assert found["step"] == {"skipped": why}
    assert f"States `demo`: none ({why})." in text(found)
    assert {each["verdict"] for each in found["targets"]} == {"not measured"}


def test_every_gradient_is_right_and_a_wrong_one_shows(found: dict[str, Any]) -> None:
    errors = found["accuracy"][0]["heads"]
    for name in NAMES:
        if name != "gemms":
            assert max(errors[name].values()) < 1e-5, name
    assert errors["doubled"]["weight"] == pytest.approx(1, rel=1e-3)
    assert errors["doubled"]["hidden"] < 1e-5


def test_a_frozen_head_is_held_against_two_products(found: dict[str, Any]) -> None:
    frozen = found["cases"][1]
    assert frozen["num_products"] == 2
    assert frozen["gemm_flops"] == pytest.approx(2 * 2 * 7 * 0.7 * 16 * 600)


def test_the_results_name_no_machine_person_or_folder(found: dict[str, Any]) -> None:
    assert set(found["machine"]) == {
        "device", "kind", "threads", "system", "python", "versions", "date",
    }  # fmt: skip
    written = json.dumps(found)
    assert str(Path.cwd()) not in written and str(Path.home()) + "/" not in written


def test_the_picture_shows_every_case_and_is_the_same_each_time(
    found: dict[str, Any], tmp_path: Path
) -> None:
    first, second = tmp_path / "first" / "cost.svg", tmp_path / "second" / "cost.svg"
    draw(found, first)
    draw(found, second)
    assert first.read_text() == second.read_text()
    shown = first.read_text()
    for case in plan().cases[:2]:
        assert f"<!-- {case.name}" in shown


def test_the_committed_pictures_are_those_of_the_committed_results(tmp_path: Path) -> None:
    for file in sorted(_RESULTS.glob("*.json")):
        results = json.loads(file.read_text("utf-8"))
        for made, name in ((draw, f"{file.stem}.svg"), (draw_summary, f"{file.stem}-summary.svg")):
            made(results, tmp_path / name)
            assert (tmp_path / name).read_text() == (_RESULTS / name).read_text(), name
