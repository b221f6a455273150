"""Run and study folders of strangers: nothing outside of them is read, written or removed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.report.report import write_report
from otr.study.file import load_study
from otr.study.plan import begin
from otr.training.checkpoints import find, keep_newest, sweep, why_broken
from otr.training.folder import check_folder, remove_run
from tests.study.studies import write_study
from tests.training.test_checkpoints import made

MINE = '{"mine": 1}\n'


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of the user's with a file in it, which must stay as it is."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "file").write_text(MINE)
    return folder


def unchanged(mine: Path) -> bool:
    return [path.name for path in mine.iterdir()] == ["file"] and (
        mine / "file"
    ).read_text() == MINE


LINKS = (
    runs.METRICS, runs.SAMPLES, runs.CONFIG, runs.SCORES, runs.ANSWERS, runs.SKIPPED,
    runs.CHECKPOINTS, runs.MODEL, ".config.yaml.part", ".scores.json.part",
)  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_a_run_folder_with_a_link_in_it_is_refused_and_nothing_is_written_through_it(
    tmp_path: Path, mine: Path, name: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / runs.CONFIG).write_text("seed: 0\n")
    (run / name).unlink(missing_ok=True)
    is_folder = name in (runs.SKIPPED, runs.CHECKPOINTS, runs.MODEL)
    (run / name).symlink_to(mine if is_folder else mine / "file")
    for use in (check_folder, lambda folder: write_report([folder], tmp_path / "report.html")):
        with pytest.raises(UserError, match=f"{name}: is a link to .*mine"):
            use(run)
    assert unchanged(mine) and not (tmp_path / "report.html").exists()


def test_scores_are_not_written_through_a_link(
    tmp_path: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / ".answers.jsonl.part").symlink_to(mine / "file")
    words = ["eval", "demo-weak", "--benchmark", "demo/in_domain", "--limit", "1"]
    assert main([*words, "--output", str(tmp_path / "scores")]) == 2
    assert "is a link" in capsys.readouterr().err and unchanged(mine)


def test_what_is_written_aside_goes_through_no_link(tmp_path: Path, mine: Path) -> None:
    (tmp_path / ".page.part").symlink_to(mine / "file")
    runs.write_text(tmp_path / "page", "new")
    assert (tmp_path / "page").read_text() == "new" and unchanged(mine)


def test_removing_a_run_follows_no_link(tmp_path: Path, mine: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in (runs.CHECKPOINTS, runs.SKIPPED):
        (run / name).symlink_to(mine)
    (run / runs.METRICS).symlink_to(mine / "file")
    remove_run(run)
    assert unchanged(mine)


def test_removing_checkpoints_follows_no_link(tmp_path: Path, mine: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    made(checkpoints, 9)
    (checkpoints / ".part").rmdir()
    for name in ("checkpoint-1", ".part", ".checkpoint-2.removed"):
        (checkpoints / name).symlink_to(mine)
    keep_newest(checkpoints, 1, None)
    sweep(checkpoints)
    assert unchanged(mine) and find(checkpoints).newest == checkpoints / "checkpoint-9"


@pytest.mark.parametrize("name", ["../mine/file", "/etc/hostname", "shards/../../mine/file"])
def test_a_manifest_names_no_file_outside_its_checkpoint(
    tmp_path: Path, mine: Path, name: str
) -> None:
    whole = made(tmp_path, 1)
    manifest = json.loads((whole / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(MINE), "sha256": "0" * 64}
    (whole / "manifest.json").write_text(json.dumps(manifest))
    assert f"{name} is missing" in str(why_broken(whole))


def test_a_linked_folder_in_a_checkpoint_is_found(tmp_path: Path, mine: Path) -> None:
    # A sharded optimizer lies in a folder of its own, which PyTorch unpickles.
    whole = made(tmp_path, 1)
    (whole / "optimizer_0").symlink_to(mine)
    assert why_broken(whole) == "checkpoint-1/optimizer_0 is a link"
    shutil.move(made(tmp_path, 2), tmp_path / "away")
    os.symlink(tmp_path / "away", tmp_path / "checkpoint-2")
    assert why_broken(tmp_path / "checkpoint-2") == "checkpoint-2 is a link"


@pytest.mark.parametrize("run", ["../mine", "/", "..", "sub/../../mine", ""])
def test_a_study_s_results_name_no_run_outside_of_it(tmp_path: Path, run: str) -> None:
    study = tmp_path / "study"
    study.mkdir()
    results = {"title": "a study", "methods": [{"label": "sft", "runs": [run]}]}
    (study / runs.RESULTS).write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"results\.json: .* is not a run of this study"):
        write_report([study], tmp_path / "report.html")


@pytest.mark.parametrize("name", ["untuned", "logs", "logs/untuned.txt", ".lock", "study.yaml"])
def test_a_study_folder_with_a_link_in_it_is_refused(tmp_path: Path, mine: Path, name: str) -> None:
    study = load_study(write_study(tmp_path))
    folder = Path(study.output_dir)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(mine if name in ("untuned", "logs") else mine / "file")
    with pytest.raises(UserError, match="is a link"):
        begin(study, restart=True)
    assert unchanged(mine)


def test_a_run_may_have_no_name_that_leads_outside(tmp_path: Path) -> None:
    from otr.study.plan import method_name

    for name in ("../../mine", "/etc", "..", "a/b", "\x00"):
        parts = Path(method_name({"name": name, "option": name})).parts
        assert len(parts) == 1 and parts[0] not in ("..", ".")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize("text", [BOMB, "a: " + "[" * 60 + "]" * 60, "a: " + "[" * 400 + "]" * 400])
def test_a_yaml_file_cannot_stand_for_more_than_it_holds(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError):
        runs.read_yaml(tmp_path / "config.yaml")


def test_a_yaml_file_makes_plain_values_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = 'a: !!python/object/apply:os.mkdir ["ran"]\nb: !!python/name:os.system\n'
    (tmp_path / "config.yaml").write_text(text)
    document = runs.read_yaml(tmp_path / "config.yaml")
    assert list(document["a"]) == ["ran"] and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "9" * 5000])
def test_json_that_no_reader_takes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "answers.jsonl").write_text(text)
    for read in (runs.read_json, lambda path: list(runs.read_jsonl(path))):
        with pytest.raises(UserError, match="not valid JSON"):
            read(tmp_path / "answers.jsonl")
