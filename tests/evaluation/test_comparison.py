"""Comparing run folders: the learning rate by validation, pairs by seed, verdicts in words."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otr.errors import UserError
from otr.evaluation.comparison import (
    Comparison,
    compare,
    comparison_from_results,
    read_answered,
    read_run,
)
from otr.evaluation.labels import labels_of, title_of
from otr.evaluation.table import table
from otr.evaluation.verdicts import NO_VERDICT

LEARNED, KEPT, VALIDATION = "demo/in_domain", "demo/retention", "demo/validation"
GROUPS = {"in_domain": [LEARNED], "retention": [KEPT]}
SFT, DFT, OTR = ({"name": name} for name in ("sft", "dft", "otr"))


def write_answers(
    folder: Path, right: dict[str, int], *, n: int = 200, samples: int = 1, first: int = 0
) -> Path:
    """scores.json and answers.jsonl: of n questions each, the first so many are right."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"benchmark": name, "id": f"{name}/{first + index}", "correct": index < number}
        for name, number in right.items()
        for index in range(n)
        for _ in range(samples)
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {name: {"accuracy": number / n, "n": n} for name, number in right.items()}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def write_run(
    folder: Path,
    objective: dict[str, Any],
    seed: int,
    learned: int,
    *,
    kept: int = 100,
    validation: int = 100,
    rate: float = 1e-4,
    **options: Any,
) -> Path:
    """A run folder with a configuration and answers, and nothing else."""
    write_answers(folder, {LEARNED: learned, KEPT: kept, VALIDATION: validation}, **options)
    config = {"objective": objective, "training": {"learning_rate": rate}, "seed": seed}
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder


def compared(runs: Sequence[Path], failed: Sequence[dict[str, Any]] = (), **options: Any):
    return compare(
        "study",
        "A study",
        [read_run(run) for run in runs],
        failed,
        **{
            "model": "demo",
            "budget": {"steps": 10},
            "benchmarks": GROUPS,
            "validation": VALIDATION,
            **options,
        },
    )


def study(root: Path, sft: Sequence[int], otr: Sequence[int]) -> list[Path]:
    """One run a seed for each of two objectives, by the number of right answers of 200."""
    return [
        write_run(root / f"{name}-{seed}", {"name": name}, seed, right)
        for name, each in (("sft", sft), ("otr", otr))
        for seed, right in enumerate(each)
    ]


def failure(objective: dict[str, Any], seed: int, rate: float = 1e-4) -> dict[str, Any]:
    return {
        "run": f"{objective['name']}-{rate:g}-seed-{seed}",
        "objective": objective,
        "learning_rate": rate,
        "seed": seed,
        "error": "out of memory",
    }


@pytest.mark.parametrize(
    ("otr", "words"),
    [
        ([160, 181, 139], "OTR ahead of SFT by 10.0 points (95 % interval "),
        ([120, 139, 101], "OTR behind SFT by 10.0 points (95 % interval "),
        ([150, 171, 105], "OTR and SFT are not distinguishable: +1.0 points (\u2212"),
        ([140, 160, 120], "OTR and SFT are not distinguishable: 0.0 points (\u2212"),
    ],
)
def test_the_verdict_says_what_the_paired_interval_says(
    tmp_path: Path, otr: list[int], words: str
) -> None:
    comparison = compared(study(tmp_path, [140, 160, 120], otr))
    (verdict,) = comparison.verdicts()
    assert verdict.startswith(words)
    difference = comparison.methods[1].difference["in_domain"]
    low, high = difference.difference.estimate.interval_95
    assert difference.distinguishable == (low > 0 or high < 0) == ("not" not in verdict)


def test_a_verdict_gives_the_interval_in_the_direction_it_names(tmp_path: Path) -> None:
    ahead = compared(study(tmp_path / "a", [140, 160, 120], [160, 181, 139])).verdicts()[0]
    behind = compared(study(tmp_path / "b", [160, 181, 139], [140, 160, 120])).verdicts()[0]
    assert ahead.split(" by ")[1] == behind.split(" by ")[1]
    low, high = ahead.split("interval ")[1].rstrip(")").split(" to ")
    assert 0 < float(low) < 10 < float(high)


def test_pairing_sees_what_the_spread_between_seeds_hides(tmp_path: Path) -> None:
    comparison = compared(study(tmp_path, [140, 160, 120], [150, 170, 130]))
    sft, otr = (method.scores["in_domain"] for method in comparison.methods)
    assert sft.interval_95[1] - sft.interval_95[0] > 0.3
    assert sft.interval_95[0] < otr.mean < sft.interval_95[1]
    assert comparison.verdicts()[0].startswith("OTR ahead of SFT by 5.0 points")


def change(root: Path, before: int, **right: Sequence[int]) -> Comparison:
    """Methods and what they get right of 200, a run a seed, after an untuned model's."""
    untuned = read_answered(write_answers(root / "untuned", {LEARNED: before, KEPT: 100}))
    runs = [
        write_run(root / f"{name}-{seed}", {"name": name}, seed, number)
        for name, each in right.items()
        for seed, number in enumerate(each)
    ]
    return compared(runs, untuned=untuned)


def test_the_first_sentence_says_that_nothing_beats_the_untuned_model(tmp_path: Path) -> None:
    worse = change(tmp_path / "a", 197, sft=(180, 182, 181), otr=(194, 195, 193))
    first = worse.verdicts()[0]
    assert first.startswith("No objective beats the untuned model (98.5): SFT \u22128.0 (\u2212")
    assert ", OTR \u22121.5 (" in first and first.endswith(" points")
    assert worse.as_json()["untuned_verdict"] == worse.as_json()["verdicts"][0] == first
    lines = table(worse).splitlines()
    assert lines[lines.index(first) + 1].startswith("OTR ahead of SFT")
    # A gain that the interval does not tell from none beats nothing.
    even = change(tmp_path / "b", 100, sft=(101, 103, 99), otr=(80, 81, 82))
    assert even.verdicts()[0].startswith("No objective beats the untuned model (50.0): SFT +0.5 (")


def test_the_first_sentence_says_what_beats_the_untuned_model(tmp_path: Path) -> None:
    comparison = change(tmp_path / "a", 100, sft=(150, 151, 152), otr=(80, 81, 82))
    first = comparison.verdicts()[0]
    assert first.startswith("Better than the untuned model (50.0): SFT +25.5 (+")
    assert first.endswith(" points; not so OTR")
    one_each = change(tmp_path / "b", 100, sft=(150,), otr=(160,))
    assert one_each.verdicts() == [NO_VERDICT]
    assert one_each.as_json()["untuned_verdict"] is None


def test_a_verdict_is_given_out_of_domain_too_also_if_nothing_is_told_apart(
    tmp_path: Path,
) -> None:
    groups = {"in_domain": [LEARNED], "out_of_domain": [KEPT]}
    comparison = compared(study(tmp_path, [140, 160, 120], [141, 160, 121]), benchmarks=groups)
    assert comparison.verdicts()[1].startswith("out_of_domain: OTR and SFT are not distinguishable")
    assert comparison.side_verdicts() == []


def test_what_only_the_correction_leaves_undecided_says_what_it_would_take(tmp_path: Path) -> None:
    """p below 5 %, above the share of it that the benchmark has."""
    runs = [
        write_run(tmp_path / f"{method['name']}-{seed}", method, seed, learned, kept=kept)
        for method, learned, kept in ((SFT, 100, 100), (DFT, 101, 107))
        for seed in range(3)
    ]
    difference = compared(runs).methods[1].difference["retention"]
    assert difference.difference.p_value < 0.05 < difference.p_holm
    assert "after correction for several benchmarks" in difference.verdict
    assert re.search(r"; needs about [\d,]+ questions$", difference.verdict)
    needed = difference.difference.questions_needed
    at_five_percent = difference.difference.needing(0.05).questions_needed
    assert needed is not None and at_five_percent is not None and needed > at_five_percent


def test_answers_that_were_cut_off_are_counted_and_warned_about(tmp_path: Path) -> None:
    runs = study(tmp_path, [140, 160, 120], [160, 181, 139])
    untuned = write_answers(tmp_path / "untuned", {LEARNED: 80, KEPT: 160})
    for folder in (*runs, untuned):
        # A tenth of SFT's answers, a half of OTR's in domain.
        share = 5 if folder.name.startswith("otr") else 1
        rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        for number, row in enumerate(rows):
            row["truncated"] = row["benchmark"] == LEARNED and number % 10 < share
        (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    comparison = compared(runs, untuned=read_answered(untuned))
    results = comparison.as_json()
    assert [method["cut"][LEARNED] for method in results["methods"]] == pytest.approx([0.1, 0.5])
    assert results["methods"][1]["cut"]["in_domain"] == 0.5
    lines = table(comparison).splitlines()
    for line, words in zip(lines[2:5], (" 5.0 %", " 5.0 %", " 25.0 %"), strict=True):
        assert words in line
    (warning,) = (each for each in comparison.warnings if "cut off" in each)
    assert warning.startswith(f"{LEARNED}: answers were cut off at the limit of tokens (OTR 50 %)")
    again = comparison_from_results(json.loads(json.dumps(results)))
    assert again.warnings == comparison.warnings and table(again) == table(comparison)


def test_a_study_without_a_title_is_headed_by_what_it_compares(tmp_path: Path) -> None:
    runs = [read_run(run) for run in study(tmp_path, [140, 160, 120], [160, 181, 139])]
    common: dict[str, Any] = {"budget": {}, "benchmarks": GROUPS, "validation": VALIDATION}
    assert compare("first", None, runs, model="demo", **common).title == "SFT and OTR on demo"
    assert compare("x", None, runs, model="./a/b", **common).title == "SFT and OTR on b"
    assert title_of([f"OTR ({k})" for k in range(17)], "x/y") == "17 objectives on x/y"


def test_what_cannot_be_told_apart_says_what_it_would_take(tmp_path: Path) -> None:
    far_apart = compared(study(tmp_path / "a", [140, 160, 120], [170, 171, 110]))
    assert far_apart.verdicts()[0].endswith(" seeds")
    one_each = compared(study(tmp_path / "b", [100], [104]))
    assert one_each.verdicts() == [NO_VERDICT]


def test_one_run_each_is_tested_by_mcnemars_test_and_gives_no_verdict(tmp_path: Path) -> None:
    comparison = compared(study(tmp_path, [100], [107]))
    difference = comparison.as_json()["methods"][1]["difference"]["in_domain"]
    # Seven questions that only one of them got right: 2 / 2^7, of which in-domain may spend 80 %.
    assert difference["p_value"] == pytest.approx(2 / 2**7)
    assert difference["p_holm"] == pytest.approx(2 / 2**7 / 0.8)
    assert difference["verdict"].startswith("OTR and SFT, one run each: no verdict (+3.5 (")
    much_better = compared(study(tmp_path / "much", [100], [190]))
    assert much_better.verdicts() == [NO_VERDICT] and much_better.side_verdicts() == []
    methods = much_better.as_json()["methods"]
    assert methods[1]["difference"]["in_domain"]["distinguishable"] is False
    assert "ahead" not in table(much_better)


def test_several_benchmarks_make_a_verdict_harder(tmp_path: Path) -> None:
    # Six questions: p 0.031, enough alone, and with 80 % of 5 %; not with what is left to others.
    runs = [
        write_run(tmp_path / "sft", SFT, 0, 100, kept=100),
        write_run(tmp_path / "otr", OTR, 0, 106, kept=106),
    ]
    both = compared(runs)
    assert all(both.methods[1].difference[key].p_holm <= 0.05 for key in GROUPS)
    kept_only = compared([runs[0], write_run(tmp_path / "dft", DFT, 0, 101, kept=106)])
    assert kept_only.methods[1].difference["retention"].p_holm > 0.05
    alone = compared(runs, benchmarks={"in_domain": [LEARNED]})
    assert alone.methods[1].difference["in_domain"].p_holm == pytest.approx(2 / 2**6)


def test_other_benchmarks_speak_only_where_there_is_a_difference(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"{name}-{seed}", {"name": name}, seed, 100, kept=right)
        for name, each in (("sft", (100, 120, 140)), ("dft", (130, 100, 120)))
        for seed, right in enumerate(each)
    ]
    runs += [
        write_run(tmp_path / f"otr-{seed}", OTR, seed, 100, kept=right)
        for seed, right in enumerate((130, 150, 170))
    ]
    comparison = compared(runs)
    (words,) = comparison.side_verdicts()
    assert words.startswith("retention: OTR ahead of SFT by 15.0 points (95 % interval ")
    assert words in table(comparison).splitlines()


def test_the_learning_rate_is_chosen_on_validation_alone(tmp_path: Path) -> None:
    runs = [
        # Better on what is compared, worse on validation: must not be kept.
        write_run(tmp_path / "a", SFT, 0, 198, rate=1e-3, validation=120),
        write_run(tmp_path / "b", SFT, 0, 100, rate=1e-4, validation=140),
        write_run(tmp_path / "c", SFT, 0, 100, rate=1e-5, validation=130),
        # Equal on validation: the lower rate.
        write_run(tmp_path / "d", OTR, 0, 198, rate=1e-3, validation=140),
        write_run(tmp_path / "e", OTR, 0, 80, rate=1e-4, validation=140),
        write_run(tmp_path / "f", OTR, 0, 90, rate=1e-2, validation=130),
    ]
    sft, otr = compared(runs).as_json()["methods"]
    assert (sft["learning_rate"], sft["at_edge"], sft["runs"]) == (1e-4, False, ["b"])
    assert (otr["learning_rate"], otr["at_edge"], otr["runs"]) == (1e-4, True, ["e"])
    assert [each["learning_rate"] for each in sft["learning_rates"]] == [1e-5, 1e-4, 1e-3]
    assert sft["learning_rates"][2]["validation"]["mean"] == pytest.approx(0.6)
    assert sft["learning_rates"][2]["accuracy"][LEARNED]["mean"] == pytest.approx(0.99)
    assert any("lowest one tried for OTR (1e-4)" in each for each in compared(runs).warnings)
    (alike,) = (each for each in compared(runs[:-1]).warnings if "OTR" in each)
    assert alike == (
        "validation does not tell the learning rates apart, so the lowest is taken, for OTR (1e-4)"
    )


def test_a_rate_that_lost_seeds_has_no_say_while_another_has_all(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"good-{seed}", SFT, seed, 100, rate=1e-4) for seed in range(3)]
    runs += [write_run(tmp_path / "lucky", SFT, 0, 190, rate=1e-3, validation=190)]
    failed = [failure(SFT, seed, rate=1e-3) for seed in (1, 2)]
    comparison = compared(runs, failed)
    assert comparison.methods[0].sweep.learning_rate == 1e-4
    assert comparison.warnings[0] == ("SFT: 2 of 3 runs at learning rate 1e-3 failed (seed 1, 2)")
    assert "SFT: learning rate 1e-3 was not considered" in comparison.warnings[1]


def test_failed_runs_are_said_in_the_verdict(tmp_path: Path) -> None:
    runs = study(tmp_path, [140, 160, 120], [160, 181])
    comparison = compared(runs, [failure(OTR, 2)])
    assert comparison.verdicts()[0].endswith("(1 of 3 runs failed)")
    results = comparison.as_json()
    assert results["methods"][1]["difference"]["in_domain"]["by_seed"].keys() == {"0", "1"}
    assert results["failed"][0]["label"] == "OTR"
    assert results["failed"][0]["error"] == "out of memory"


def test_a_method_whose_every_run_failed_stays_in_the_comparison(tmp_path: Path) -> None:
    runs = study(tmp_path, [140, 160, 120], [])
    comparison = compared(runs, [failure(OTR, seed) for seed in range(3)])
    assert comparison.verdicts() == ["OTR: every run failed"]
    method = comparison.as_json()["methods"][1]
    assert (method["learning_rate"], method["scores"], method["runs"]) == (None, {}, [])
    assert "failed" in table(comparison)
    without_first = compared(runs, [failure(OTR, seed) for seed in range(3)], objectives=[OTR, SFT])
    assert without_first.verdicts() == ["SFT: nothing to compare with, as every run of OTR failed"]


def test_without_a_seed_in_common_there_is_no_verdict(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", SFT, 0, 100),
        write_run(tmp_path / "b", OTR, 1, 150),
    ]
    comparison = compared(runs)
    assert comparison.verdicts() == ["OTR and SFT have no seed in common: no verdict"]
    assert comparison.methods[1].difference == {}


OFF: dict[str, Any] = {"floor": 0.0, "entropy_bonus": 0.0, "anchor": None}


@pytest.mark.parametrize(
    ("objectives", "labels"),
    [
        ([{"name": "sft"}, {"name": "otr", "num_rollouts": "exact"}], ["SFT", "OTR"]),
        (
            [{"name": "otr", "num_rollouts": 256}, {"name": "otr", "num_rollouts": "exact"}],
            ["OTR (num_rollouts=256)", "OTR (exact)"],
        ),
        (
            [
                {"name": "otr", "num_rollouts": 256, "temperature": 1.3, **OFF},
                {"name": "otr", "num_rollouts": "exact", "temperature": 1.3, **OFF},
                {"name": "otr", "num_rollouts": 256, "temperature": 2.0, **OFF},
                {"name": "otr", "num_rollouts": 256, "temperature": 1.3, **OFF, "floor": 0.1},
            ],
            ["OTR", "OTR (exact)", "OTR (temperature=2)", "OTR (floor=0.1)"],
        ),
        (
            [
                {"name": "sft", **OFF, "anchor": {"kl": 0.05, "direction": "forward"}},
                {"name": "sft", **OFF},
                {"name": "sft", **OFF, "entropy_bonus": 0.01},
            ],
            ["SFT (anchor=forward 0.05)", "SFT", "SFT (entropy_bonus=0.01)"],
        ),
        ([{"name": "grpo", "num_generations": 8}], ["GRPO"]),
    ],
)
def test_a_label_says_what_sets_a_method_off_and_no_more(
    objectives: list[dict[str, Any]], labels: list[str]
) -> None:
    assert labels_of(objectives) == labels


def test_forgetting_is_the_change_from_the_untuned_model(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / str(seed), SFT, seed, 180, kept=kept)
        for seed, kept in enumerate([100, 110, 120])
    ]
    untuned = read_answered(write_answers(tmp_path / "untuned", {LEARNED: 80, KEPT: 160}))
    results = compared(runs, untuned=untuned).as_json()
    change = results["methods"][0]["change"]
    assert change["in_domain"]["mean"] == pytest.approx(0.5)
    assert change["retention"]["by_seed"] == pytest.approx({"0": -0.3, "1": -0.25, "2": -0.2})
    assert change["retention"]["interval_95"][1] < 0
    assert results["untuned"][KEPT]["accuracy"] == pytest.approx(0.8)
    assert len(results["untuned"][KEPT]["interval_95"]) == 2


def test_a_group_is_the_mean_over_its_benchmarks(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"{name}-{seed}", {"name": name}, seed, right, kept=60)
        for name, right in (("sft", 100), ("otr", 140))
        for seed in range(3)
    ]
    comparison = compared(runs, benchmarks={"in_domain": [LEARNED, KEPT]})
    otr = comparison.as_json()["methods"][1]
    assert otr["scores"]["in_domain"]["mean"] == pytest.approx((0.7 + 0.3) / 2)
    assert otr["scores"]["in_domain"]["n"] == 400
    assert otr["difference"]["in_domain"]["mean"] == pytest.approx(0.1)
    assert comparison.side_verdicts() == [f"{LEARNED}: {otr['difference'][LEARNED]['verdict']}"]


def test_sampled_answers_count_as_shares_of_a_question(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", SFT, 0, 1, n=3, validation=1, kept=1)
    rows = [
        {"benchmark": name, "id": str(index), "correct": bit == "1"}
        for name in (LEARNED, KEPT, VALIDATION)
        for index, bits in enumerate(("11", "10", "00"))
        for bit in bits
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = compared([folder]).as_json()["runs"][0]
    assert row["scores"][LEARNED] == {"accuracy": 0.5, "n": 3, "correct": [1.0, 0.5, 0.0]}


def noisy(root: Path) -> tuple[Comparison, dict[str, Any]]:
    """A comparison with failures, rates, costs and an untuned model."""
    rng = np.random.default_rng(0)
    runs = [
        write_run(
            root / f"{name}-{rate:g}-{seed}",
            {"name": name},
            seed,
            *rng.integers(90, 130, size=1).tolist(),
            kept=int(rng.integers(90, 130)),
            validation=int(rng.integers(90, 130)),
            rate=rate,
        )
        for seed in range(3)
        for name in ("sft", "dft", "otr")
        for rate in (1e-4, 1e-3)
    ]
    for run in runs:
        cost = {"seconds": 2.0, "num_steps": 10, "tokens_per_second": 5.0, "peak_memory_mb": 7.0}
        (run / "cost.json").write_text(json.dumps({**cost, "head_share": None}))
    untuned = read_answered(write_answers(root / "untuned", {LEARNED: 80, KEPT: 160}))
    failed = [failure({"name": "gem"}, seed) for seed in range(3)]
    comparison = compared(runs, failed, untuned=untuned)
    return comparison, comparison.as_json()


def test_the_results_file_has_the_agreed_fields(tmp_path: Path) -> None:
    _, results = noisy(tmp_path)
    assert list(results) == [
        *("format", "name", "title", "model", "budget", "validation", "benchmarks", "questions"),
        *(
            "untuned",
            "failed",
            "methods",
            "untuned_verdict",
            "verdicts",
            "side_verdicts",
            "warnings",
        ),
        "runs",
    ]
    assert results["benchmarks"] == {
        "in_domain": [LEARNED],
        "out_of_domain": [],
        "retention": [KEPT],
    }
    assert results["questions"] == {LEARNED: 200, KEPT: 200, VALIDATION: 200}
    method = results["methods"][2]
    assert list(method) == [
        *("label", "objective", "learning_rate", "at_edge", "learning_rates", "runs", "scores"),
        *("cut", "change", "difference", "cost"),
    ]
    assert list(method["scores"]) == ["in_domain", "retention", LEARNED, KEPT]
    assert list(method["difference"]["in_domain"]) == [
        *("mean", "interval_95", "n", "by_seed", "p_value", "p_holm", "distinguishable"),
        *("questions_needed", "seeds_needed", "verdict"),
    ]
    assert method["difference"][LEARNED] == method["difference"]["in_domain"]
    assert method["cost"]["seconds"] == 2.0 and method["cost"]["head_share"] is None
    assert results["methods"][0]["difference"] == {}
    assert len(results["runs"]) == 18
    assert results["runs"][0]["scores"][LEARNED]["correct"].count("1") == round(
        200 * results["runs"][0]["scores"][LEARNED]["accuracy"]
    )


def test_a_committed_results_file_gives_the_same_comparison_again(tmp_path: Path) -> None:
    comparison, results = noisy(tmp_path)
    written = json.loads(json.dumps(results))
    again = comparison_from_results(written)
    assert json.loads(json.dumps(again.as_json())) == written
    assert table(again) == table(comparison)


def test_the_table_shows_the_untuned_model_every_method_and_the_verdicts(tmp_path: Path) -> None:
    untuned = read_answered(write_answers(tmp_path / "untuned", {LEARNED: 29, KEPT: 100}))
    comparison = compared(study(tmp_path, [140, 160, 120], [160, 181, 139]), untuned=untuned)
    lines = table(comparison).splitlines()
    assert lines[0] == "A study: percent right (95 % interval), 3 seeds"
    assert lines[1].split() == [
        *("learning", "rate", "in_domain", "retention", "cut", "off", "in_domain", "minus", "SFT")
    ]
    assert lines[2].split() == ["untuned", "14.5", "50.0"]
    assert lines[3].split()[:3] == ["SFT", "1e-4", "70.0"]
    low, high = comparison.methods[1].difference["in_domain"].difference.estimate.interval_95
    assert lines[4].endswith(f"+10.0 (+{100 * low:.1f} to +{100 * high:.1f})")
    assert lines[5:7] == comparison.verdicts()


def test_a_run_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", SFT, 0, 100)
    with pytest.raises(UserError, match="is not a run folder"):
        read_run(tmp_path / "nothing")
    with pytest.raises(UserError, match="found wrong: 'training'"):
        run = write_run(tmp_path / "bare", SFT, 0, 100)
        (run / "config.yaml").write_text("objective: {name: sft}\nseed: 0\n")
        read_run(run)
    with pytest.raises(UserError, match="same objective, learning rate and seed"):
        compared([good, write_run(tmp_path / "twin", SFT, 0, 120)])
    with pytest.raises(UserError, match="few was scored on 10 questions.*good on 200"):
        compared([good, write_run(tmp_path / "few", SFT, 1, 5, n=10)])
    with pytest.raises(UserError, match="other and .*good were scored on different questions"):
        compared([good, write_run(tmp_path / "other", SFT, 1, 100, first=1000)])
    with pytest.raises(UserError, match="has no scores of 'demo/longer'"):
        compared([good], benchmarks={"in_domain": ["demo/longer"]})
    with pytest.raises(UserError, match="'demo/validation' not among any"):
        compared([good], benchmarks={"in_domain": [VALIDATION]})
    with pytest.raises(UserError, match="no finished runs"):
        compared([])
    with pytest.raises(UserError, match="untuned: scores without answers"):
        compared([good], untuned=json.loads((good / "scores.json").read_text()))
    with pytest.raises(UserError, match="200 questions.*answers.jsonl 1; evaluate it again"):
        row = (good / "answers.jsonl").read_text().splitlines()[0]
        (good / "answers.jsonl").write_text(row + "\n")
        read_run(good)
