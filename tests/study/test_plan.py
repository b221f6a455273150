"""Plans: which runs a study takes, under which names, and what may change between starts."""

import json
from pathlib import Path

import pytest

from otr import runs
from otr.errors import UserError
from otr.study.file import load_study
from otr.study.plan import begin, planned_jobs
from tests.study.studies import write_study


def test_every_objective_rate_and_seed_is_run_once_seeds_outermost(tmp_path: Path) -> None:
    own_rates = {"name": "dft", "learning_rates": [1e-2]}
    path = write_study(
        tmp_path, objectives=[{"name": "sft"}, own_rates], learning_rates=[1e-4, 1e-3]
    )
    assert [job.name for job in planned_jobs(load_study(path))] == [
        "untuned",
        "sft-0.0001-seed-0",
        "sft-0.001-seed-0",
        "dft-0.01-seed-0",
        "sft-0.0001-seed-1",
        "sft-0.001-seed-1",
        "dft-0.01-seed-1",
    ]


def test_a_run_has_its_seeds_data_and_its_own_learning_rate(tmp_path: Path) -> None:
    job = planned_jobs(load_study(write_study(tmp_path)))[-1]
    assert job.run is not None
    assert job.run.data.train == str(tmp_path / "seed-1.jsonl")
    assert (job.run.seed, job.run.training["learning_rate"]) == (1, 1e-3)
    assert job.run.objective == {"name": "otr", "num_rollouts": 8}
    assert job.benchmarks == ("demo/in_domain", "demo/retention", "demo/validation")


def test_names_differ_for_options_that_differ_and_stay_short(tmp_path: Path) -> None:
    objectives = [
        {"name": "otr", "anchor": {"kl": kl, "direction": "reverse"}, "entropy_bonus": bonus}
        for kl in (0.1, 0.2)
        for bonus in (0.001, 0.01)
    ]
    jobs = planned_jobs(load_study(write_study(tmp_path, objectives=objectives, seeds=[0])))
    names = {job.name for job in jobs}
    assert len(names) == 5
    assert all(len(name) < 100 and "/" not in name and " " not in name for name in names)


def test_a_job_is_finished_when_every_score_is_there(tmp_path: Path) -> None:
    job = planned_jobs(load_study(write_study(tmp_path)))[1]
    assert not job.is_trained
    job.folder.mkdir(parents=True)
    (job.folder / runs.SCORES).write_text(json.dumps({"demo/in_domain": {}}))
    assert job.missing_benchmarks == ["demo/retention", "demo/validation"]
    (job.folder / runs.SCORES).write_text(json.dumps(dict.fromkeys(job.benchmarks, {})))
    assert job.is_finished


OWN = """title: Sums
data: {file: all.jsonl}
columns: {question: question, reference: answer}
prompt: {base: "{question} "}
answer: {rule: number}
max_new_tokens: 4
"""


def test_a_benchmark_file_is_scored_by_its_own_name_and_may_give_rewards(tmp_path: Path) -> None:
    own = tmp_path / "sums.yaml"
    own.write_text(OWN)
    path = write_study(
        tmp_path,
        objectives=[{"name": "sft"}, {"name": "grpo", "reward": f"{own}=train.jsonl"}],
        benchmarks={"in_domain": [f"{own}=test.jsonl"]},
    )
    *_, last = planned_jobs(load_study(path))
    last.folder.mkdir(parents=True)
    (last.folder / runs.SCORES).write_text(json.dumps({"sums": {}}))
    assert last.missing_benchmarks == ["demo/validation"]
    assert last.rewarded is not None
    assert last.rewarded.verifier("It is 7.", "#### 7")
    assert not last.rewarded.verifier("It is 8.", "#### 7")


def test_a_study_may_grow_but_not_change_what_its_runs_share(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    begin(load_study(path), restart=False)
    begin(load_study(path, ["seeds=[0, 1, 2]", "learning_rates=[1e-5, 1e-3]"]), restart=False)
    written = (tmp_path / "out" / runs.STUDY).read_text()
    changed = load_study(path, ["base.training.max_steps=4"])
    with pytest.raises(UserError) as caught:
        begin(changed, restart=False)
    assert "base.training.max_steps: was 3, now 4" in str(caught.value)
    assert "--restart" in str(caught.value)
    assert (tmp_path / "out" / runs.STUDY).read_text() == written
    begin(changed, restart=True)


def test_a_folder_of_other_runs_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "out" / "mine").mkdir(parents=True)
    (tmp_path / "out" / "mine" / runs.CONFIG).write_text("model: demo\n")
    with pytest.raises(UserError, match="not a study's"):
        begin(load_study(path), restart=False)
