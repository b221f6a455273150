"""Doing jobs: kept when finished, tried again when broken, apart from each other."""

import os
import shutil
import signal
import threading
from pathlib import Path

import psutil
import pytest
import torch

from otr import runs
from otr.runs import read_yaml
from otr.study import runner
from otr.study.file import load_study
from otr.study.plan import Job, planned_jobs
from otr.study.runner import Progress, Stopped, do, last_row, run_jobs
from tests.study.studies import write_study


def jobs_of(folder: Path, **changes: object) -> list[Job]:
    return planned_jobs(load_study(write_study(folder, **changes)))


def quiet(progress: Progress) -> None:
    """Show nothing."""


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its inode and time of change."""
    found = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2,3", ["2", "3"]),
        ("GPU-8932f937-d72c, MIG-1b2c", ["GPU-8932f937-d72c", "MIG-1b2c"]),
        ("", []),
        ("-1", ["-1"]),
        (None, ["0", "1", "2"]),
    ],
)
def test_runs_use_no_gpu_that_was_not_given(
    given: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert runner._devices() == found


@pytest.mark.slow
def test_a_broken_run_is_reported_and_tried_again_and_finished_ones_are_left_alone(
    tmp_path: Path,
) -> None:
    jobs = jobs_of(tmp_path, seeds=[0], learning_rates=[1e-3, 1e30])
    shown: list[int] = []
    progress = run_jobs(jobs, num_processes=2, show=lambda now: shown.append(now.num_done))
    assert {job.name for job in progress.failed} == {
        "sft-1e+30-seed-0",
        "otr-num_rollouts-8-1e+30-seed-0",
    }
    assert [job.name for job in progress.finished if job.run is None] == ["untuned"]
    assert len(progress.finished) == 3
    assert shown == sorted(shown) and shown[-1] == 5
    failed = tmp_path / "out" / "sft-1e+30-seed-0"
    assert "no finite loss" in runs.read_json(failed / runs.FAILED)["error"]
    assert "FloatingPointError" in (tmp_path / "out/logs/sft-1e+30-seed-0.txt").read_text()
    assert last_row(progress.finished[-1])["step"] == 3

    before = {job.name: state(job.folder) for job in progress.finished}
    again = run_jobs(jobs, num_processes=1, show=quiet)
    assert {job.name for job in again.failed} == {job.name for job in progress.failed}
    assert again.finished == []
    assert {job.name: state(job.folder) for job in progress.finished} == before


@pytest.mark.slow
def test_the_cores_are_shared_out_between_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job = next(job for job in jobs_of(tmp_path, seeds=[0]) if job.run is not None)
    monkeypatch.setattr(runner, "num_processors", lambda: 6)
    for num_processes, num_threads in ((2, 3), (6, 1)):
        shutil.rmtree(job.folder, ignore_errors=True)
        assert run_jobs([job], num_processes=num_processes, show=quiet).finished == [job]
        found = runs.read_json(job.folder / runs.ENVIRONMENT)["hardware"]["num_threads"]
        assert found == num_threads
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.slow
def test_a_signal_ends_the_processes_and_a_killed_one_counts_as_failed(tmp_path: Path) -> None:
    base = {"training": {"max_steps": 100_000, "per_device_train_batch_size": 1}}
    study = load_study(write_study(tmp_path))
    study = study.model_copy(update={"base": study.base | base})
    jobs = planned_jobs(study)[1:]
    killed, ended = [], []

    def kill_then_stop(progress: Progress) -> None:
        started = [job for job in progress.running if last_row(job).get("step")]
        if started and not killed:
            name = started[0].name
            os.kill(_process_of(name, tmp_path), signal.SIGKILL)
            killed.append(name)
        if progress.failed and len(started) == 2 and not ended:
            ended.extend(_process_of(job.name, tmp_path) for job in started)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        run_jobs(jobs, num_processes=2, show=kill_then_stop)
    error = runs.read_json(tmp_path / "out" / killed[0] / runs.FAILED)["error"]
    assert "SIGKILL" in error and "memory" in error
    assert len(ended) == 2
    assert not any(psutil.pid_exists(pid) for pid in ended)


def _process_of(name: str, folder: Path) -> int:
    """The process that writes a job's log."""
    log = folder / "out" / "logs" / f"{name}.txt"
    for process in psutil.process_iter():
        try:
            if os.readlink(f"/proc/{process.pid}/fd/1") == str(log):
                return process.pid
        except OSError:
            continue
    raise AssertionError(f"no process writes {log}")


def test_an_interrupted_evaluation_does_not_train_again(tmp_path: Path) -> None:
    job = jobs_of(tmp_path, seeds=[0])[1]
    do(job)
    assert job.is_finished
    weights = state(job.folder / runs.MODEL)
    metrics = (job.folder / runs.METRICS).read_bytes()
    (job.folder / runs.SCORES).unlink()
    do(job)
    assert job.is_finished
    assert state(job.folder / runs.MODEL) == weights
    assert (job.folder / runs.METRICS).read_bytes() == metrics


def test_models_are_removed_once_scored_where_they_are_not_kept(tmp_path: Path) -> None:
    job = jobs_of(tmp_path, seeds=[0], keep_models="none")[1]
    do(job)
    assert job.is_finished
    assert not (job.folder / runs.MODEL).exists()


def test_signals_are_left_alone_outside_the_main_thread(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    caught: list[BaseException] = []

    def run() -> None:
        try:
            run_jobs([], num_processes=1, show=quiet)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert caught == []
    assert signal.getsignal(signal.SIGTERM) is before


GRPO = {"name": "grpo", "num_generations": 4}


@pytest.mark.slow
def test_grpo_waits_for_the_first_objective_and_has_the_seconds_that_it_took(
    tmp_path: Path,
) -> None:
    jobs = jobs_of(
        tmp_path, seeds=[0], objectives=[{"name": "sft"}, GRPO], learning_rates=[1e-4, 1e-3]
    )
    jobs = [job for job in jobs if job.run is not None]
    # However they are ordered, GRPO's come last.
    run_jobs(jobs[::-1], num_processes=2, show=quiet)
    assert all(job.is_finished for job in jobs)
    seconds = [runs.read_json(job.folder / runs.COST)["seconds"] for job in jobs[:2]]
    for job in jobs[2:]:
        config = read_yaml(job.folder / runs.CONFIG)
        assert config["objective"] == GRPO
        assert config["max_seconds"] == pytest.approx(sum(seconds) / 2)
        assert runs.read_json(job.folder / runs.COST)["seconds"] >= config["max_seconds"]


@pytest.mark.slow
def test_grpo_fails_alone_where_there_is_no_budget_to_equal(tmp_path: Path) -> None:
    objectives = [{"name": "sft", "learning_rates": [1e30]}, GRPO, GRPO | {"max_seconds": 0.5}]
    jobs = jobs_of(tmp_path, seeds=[0], objectives=objectives)[1:]
    run_jobs(jobs, num_processes=2, show=quiet)
    assert [job.is_finished for job in jobs] == [False, False, True]
    error = runs.read_json(jobs[1].folder / runs.FAILED)["error"]
    assert "sft-1e+30-seed-0 takes" in error and "max_seconds" in error
    assert read_yaml(jobs[2].folder / runs.CONFIG)["max_seconds"] == 0.5


def test_the_untuned_model_is_asked_as_the_runs_will_be(tmp_path: Path) -> None:
    question, answer = {"role": "user", "content": "max 1 2"}, {"role": "assistant", "content": "2"}
    rows = {
        "chat": {"messages": [question, answer]},
        "base": {"prompt": question["content"], "completion": answer["content"]},
    }
    for style, row in rows.items():
        runs.write_jsonl(tmp_path / f"{style}.jsonl", [row])
        base = {"model": "demo-weak", "data": {"train": str(tmp_path / f"{style}.jsonl")}}
        untuned, *_ = jobs_of(tmp_path / style, base=base, limit=2)
        do(untuned, num_workers=1)
        scores = runs.read_json(untuned.folder / runs.SCORES)
        assert {entry["prompt"] for entry in scores.values()} == {style}
