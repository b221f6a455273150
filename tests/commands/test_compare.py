"""`otr compare` as a user runs it: stopped, killed, started again, and what it leaves."""

import json
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.evaluation.sandbox import protections
from otr.evaluation.verdicts import NO_VERDICT
from otr.signals import Stopped
from otr.study.file import load_study
from otr.study.pipeline import run_studies
from otr.study.plan import Job
from otr.study.runner import do
from tests.processes import running
from tests.study.studies import write_code_benchmark, write_study

THREE = [
    {"name": "sft"},
    {"name": "otr", "num_rollouts": 16},
    {"name": "otr", "num_rollouts": "exact"},
]
WAIT_SECONDS = 120


def scored(folder: Path) -> dict[str, tuple[int, int]]:
    """The runs that are finished, with what would change if one were done again."""
    return {
        path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.glob("*/" + runs.SCORES)
    }


def wait_for(num_runs: int, folder: Path) -> None:
    """Until so many runs are scored and another one is training."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        training = set(path.parent.name for path in folder.glob("*/" + runs.METRICS))
        if len(scored(folder)) >= num_runs and training - scored(folder).keys():
            return
        time.sleep(0.02)
    raise AssertionError(f"only {len(scored(folder))} runs after {WAIT_SECONDS} s")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_study_that_is_stopped_and_killed_goes_on_without_repeating_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, objectives=THREE)
    document = path.read_text().replace("max_steps: 3", "max_steps: 15")
    assert document != path.read_text()
    path.write_text(document)
    out = tmp_path / "out"

    words = ("compare", str(path), "--jobs", "2")
    with running("otr", *words) as stopped:
        wait_for(2, out)
        stopped.process.terminate()
        ended = stopped.ended(60)
    assert ended.status == 75, ended.stderr
    assert "the same command goes on" in ended.stderr
    assert not (out / runs.RESULTS).exists()
    first = scored(out)

    with running("otr", *words) as killed:
        wait_for(len(first) + 1, out)
        children = psutil.Process(killed.process.pid).children(recursive=True)
        killed.process.kill()
    # Nothing goes on writing behind the next start's back.
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    second = scored(out)
    assert first.items() <= second.items()

    assert main([*words]) == 0
    printed = capsys.readouterr()
    assert second.items() <= scored(out).items()
    assert len(scored(out)) == 7
    assert f"{len(second)} kept from before" in printed.err

    results = json.loads((out / runs.RESULTS).read_text())
    assert [method["objective"]["name"] for method in results["methods"]] == [
        "sft",
        "otr",
        "otr",
    ]
    assert all(len(method["runs"]) == 2 for method in results["methods"])
    for verdict in results["verdicts"]:
        assert verdict in printed.out
    report = (out / runs.REPORT).read_text()
    assert "OTR (exact)" in report and "Content-Security-Policy" in report
    assert main(["compare", str(path)]) == 0
    assert capsys.readouterr().out == printed.out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_failed_run_is_said_beside_the_verdict_and_in_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, limit=2)
    (tmp_path / "seed-1.jsonl").write_text("no JSON\n")
    assert main(["compare", str(path)]) == 1
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out" / runs.RESULTS).read_text())
    assert [failure["run"] for failure in results["failed"]] == [
        "sft-0.001-seed-1",
        "otr-num_rollouts-8-0.001-seed-1",
    ]
    assert all("line 1" in failure["error"] for failure in results["failed"])
    assert "SFT: 1 of 2 runs at learning rate 1e-3 failed (seed 1)" in printed
    # One run of each is left.
    assert NO_VERDICT in printed
    assert "sft-0.001-seed-1" in (tmp_path / "out" / runs.REPORT).read_text()


def test_rows_that_cannot_be_shown_are_refused_before_the_first_run(tmp_path: Path) -> None:
    path = write_study(tmp_path, inspect_rows=[0, 256])
    with pytest.raises(
        UserError, match="inspect_rows: row 256: .* the data has 256: give 0 to 255"
    ):
        run_studies([load_study(path)])
    assert not (tmp_path / "out").exists()


def test_programs_are_not_run_unasked_which_is_said_before_the_first_run(tmp_path: Path) -> None:
    path = write_study(tmp_path, benchmarks={"in_domain": [write_code_benchmark(tmp_path)]})
    with pytest.raises(UserError, match="humaneval are programs; --run-code runs them"):
        run_studies([load_study(path)])
    assert not (tmp_path / "out").exists()


def test_programs_are_run_where_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first job, the base model's scores, is done here, without a process of its own."""

    def only_the_first(jobs: list[Job], **options: object) -> None:
        do(jobs[0], num_workers=1)
        raise Stopped("enough")

    monkeypatch.setattr("otr.study.pipeline.run_jobs", only_the_first)
    code = write_code_benchmark(tmp_path)
    study = write_study(tmp_path, seeds=[0], benchmarks={"in_domain": [code]})
    assert main(["compare", str(study), "--run-code"]) == 75
    said = capsys.readouterr().err
    gaps = [f"--run-code: {gap}\n" for gap in protections().missing()]
    assert [said.count(gap) for gap in gaps] == [1] * len(gaps)
    answers = (tmp_path / "out" / "untuned" / runs.ANSWERS).read_text().splitlines()
    (row,) = [row for row in map(json.loads, answers) if row["benchmark"] == "humaneval"]
    assert (row["correct"], row["problem"]) == (True, None), row
    # A study file may be another's: consent is the command's alone.
    assert "run_code" not in (tmp_path / "out" / runs.STUDY).read_text()


def test_programs_give_no_rewards(tmp_path: Path) -> None:
    code = write_code_benchmark(tmp_path)
    grpo = {"name": "grpo", "reward": code, "max_seconds": 1.0}
    path = write_study(tmp_path, objectives=[{"name": "sft"}, grpo])
    with pytest.raises(UserError, match="grpo: the answers to humaneval=.* give no rewards here"):
        run_studies([load_study(path)])


def test_a_second_otr_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(UserError, match="at work"):
        run_studies([load_study(path)])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("base.data.train=nowhere.jsonl", "nowhere.jsonl"),
        ("benchmarks.in_domain=[demo/in_domian]", "did you mean 'demo/in_domain'"),
        ("base.training.max_stepz=3", "did you mean 'max_steps'"),
    ],
)
def test_what_no_run_could_do_with_is_found_before_the_first(
    tmp_path: Path, override: str, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        run_studies([load_study(write_study(tmp_path), [override])])
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()
