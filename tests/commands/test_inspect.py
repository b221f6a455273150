"""`otr inspect` from a data file to a page."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.commands.main import main
from otr.training.config import to_yaml
from otr.training.environment import environment
from tests.training import models

pytestmark = pytest.mark.filterwarnings("ignore")

DATA = (
    "--data",
    "rows.jsonl",
    "--prompt",
    "question",
    "--completion",
    "answer",
    "--separator",
    " ",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"add {a} and 1 :", "answer": f"ans {a + 1} ."} for a in range(2, 9)]
    runs.write_jsonl(tmp_path / "rows.jsonl", rows)
    return tmp_path


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["inspect", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["inspect", *words]) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message and len(message.splitlines()) <= 4
    return message


def test_rows_are_printed_and_written_as_one_page(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    out = inspected(capsys, "demo", *DATA, "--row", "3", "--row", "5", "-o", "pages/tokens.html")
    assert "row 3 (rows.jsonl, line 4) under demo: 4 of 9 tokens learned" in out
    assert "learn |  ans 6 .<|endoftext|>" in out
    for label in ("SFT", "DFT", "OTR", "OTR (exact)"):
        assert f"  {label} " in out
    assert "page: pages/tokens.html" in out
    page = (folder / "pages/tokens.html").read_text(encoding="utf-8")
    assert "Row 3" in page and "Row 5" in page and str(folder) not in page


def test_objectives_and_their_options_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    out = inspected(capsys, "demo", *DATA, "--set", "otr.temperature=1.0")
    assert "OTR (temperature=1)" in out and "OTR (exact, temperature=1)" in out
    out = inspected(
        capsys, "demo", *DATA, "--objective", "gem", "--objective", "label-smoothing",
        "--set", "gem.beta=0.5", "label_smoothing.epsilon=0.2",
    )  # fmt: skip
    assert "GEM (beta=0.5)" in out and "Label smoothing (epsilon=0.2)" in out and "SFT" not in out


def test_draws_follow_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("demo-weak", *DATA, "--objective", "otr")
    first = inspected(capsys, *words)
    assert inspected(capsys, *words, "--seed", "0") == first
    assert inspected(capsys, *words, "--seed", "1") != first


def run_folder(folder: Path, **changes: Any) -> str:
    from otr.training.config import Run

    run = Run.model_validate(
        {
            "model": "demo",
            "data": {"train": "rows.jsonl", "prompt": "question", "completion": "answer"},
            "objective": {"name": "otr", "num_rollouts": 32},
            "output_dir": "runs/first",
            "seed": 7,
            **changes,
        }
    )
    made = folder / "runs" / "first"
    models.model().save_pretrained(made / "model")
    models.tokenizer().save_pretrained(made / "model")
    runs.write_text(made / "config.yaml", to_yaml(run))
    return "runs/first"


def test_a_run_brings_its_data_objective_seed_and_length(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    runs.write_jsonl(folder / "rows.jsonl", [{"question": "w1 w2", "answer": "w3 w4 w5"}] * 3)
    run = run_folder(folder)
    out = inspected(capsys, run, "--row", "2")
    assert "row 2 (rows.jsonl, line 3) under runs/first: 4 of 6 tokens learned" in out
    assert "OTR (num_rollouts=32)" in out
    assert inspected(capsys, run, "--row", "2", "--seed", "7") == out
    assert inspected(capsys, run, "--row", "2", "--seed", "0") != out
    short = run_folder(folder, training={"max_length": 4})
    assert "longer than training.max_length=4" in refused(capsys, short)
    other = [{"text": "w1 w2 w3"}]
    runs.write_jsonl(folder / "other.jsonl", other)
    out = inspected(capsys, run, "--data", "other.jsonl", "--text", "text", "--set",
        "training.max_length=99")  # fmt: skip
    assert "row 0 (other.jsonl, line 1)" in out and "3 of 4 tokens learned" in out


def test_a_model_without_a_chat_template_can_be_given_one(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    models.model().save_pretrained(folder / "base")
    models.tokenizer().save_pretrained(folder / "base")
    talk = [{"role": "user", "content": "w3"}, {"role": "assistant", "content": "w4 w5"}]
    runs.write_jsonl(folder / "talks.jsonl", [{"messages": talk}])
    words = ("base", "--data", "talks.jsonl")
    assert "training.chat_template_path" in refused(capsys, *words)
    template = "{% for each in messages %}w1 {{ each.content }} {% endfor %}"
    (folder / "chat.jinja").write_text(template)
    out = inspected(capsys, *words, "--set", "training.chat_template_path=chat.jinja")
    assert "3 of 5 tokens learned" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("demo",), "--data: demo is no run folder"),
        (("demo", *DATA, "--row", "7"), "row 7: rows are counted from 0, and the data has 7"),
        (("demo", *DATA, "--row", "-1"), "row -1"),
        (("demo", "--data", "row.jsonl"), "no such file; did you mean 'rows.jsonl'?"),
        (("demo", "--data", "rows.jsonl", "--text", "txt"), "no column 'txt'"),
        (("demo", *DATA, "--objective", "stf"), "did you mean 'sft'?"),
        (("demo", *DATA, "--set", "otr.num_rolouts=3"), "did you mean 'num_rollouts'?"),
        (("demo", *DATA, "--set", "gem.beta=1"), "add --objective gem"),
        (("demo", *DATA, "--set", "data.separatr=1"), "did you mean 'separator'?"),
        (("demo", *DATA, "--set", "otr=3"), "expected otr.key=value"),
        (("demo", *DATA, "--set", "training.max_length=x"), "positive whole number, found 'x'"),
        (("demo", *DATA, "--set", "training.max_lenght=9"), "did you mean 'max_length'?"),
        (("demo", *DATA, "--set", "training.bf16=true"), "changes nothing that is shown"),
        (("demo", *DATA, "--set", "training.eos_token=</end>"), "not in the model's vocabulary"),
        (("demo", *DATA, "--set", "training.chat_template_path=3"), "there is no file '3'"),
        (("demo", *DATA, "-o", "."), "is a folder"),
        (("nowhere/at/all", *DATA), "there is no folder"),
    ],
)
def test_what_the_user_must_change_is_said_in_a_few_lines(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *words)


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    words = [sys.executable, "-m", "otr.commands.main", "inspect", "demo", *DATA]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        message = process.stderr.read()
        assert process.wait(60) == 141
    assert b"Traceback" not in message and b"BrokenPipe" not in message


def trained_in(project: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder in a project of its own, whose data end with this answer; as version 0.1 left it
    once `started_in` is taken out."""
    (project / "runs" / "first").mkdir(parents=True)
    (project.parent / "rows.jsonl").unlink()
    rows = [{"question": "w1 w2", "answer": answer}]
    runs.write_jsonl(project / "rows.jsonl", rows)
    run_folder(project)
    monkeypatch.chdir(project)
    runs.write_json(project / "runs/first/environment.json", environment(["rows.jsonl"]))
    return project / "runs" / "first"


def without_folder(run: Path) -> None:
    recorded = runs.read_json(run / "environment.json")
    del recorded["started_in"]
    runs.write_json(run / "environment.json", recorded)


@pytest.mark.parametrize("version", ["0.1", "now"])
def test_a_run_s_rows_are_found_from_any_folder_and_no_other_file_of_their_name_is_read(
    version: str,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trained_in(folder / "one", "w3 w4 w5", monkeypatch)
    if version == "0.1":
        without_folder(run)
    (folder / "two").mkdir()
    monkeypatch.chdir(folder / "two")
    for there in (None, "w3 w3 w3"):
        if there is not None:
            runs.write_jsonl(Path("rows.jsonl"), [{"question": "w9", "answer": there}])
        out = inspected(capsys, str(run))
        assert "row 0 (rows.jsonl, line 1)" in out and "[w5]" in out
    # Moved with its project, it still has its own rows; without them it has none.
    (folder / "one").rename(folder / "moved")
    assert "[w5]" in inspected(capsys, "../moved/runs/first")
    (folder / "moved/rows.jsonl").unlink()
    said = refused(capsys, "../moved/runs/first")
    assert "rows.jsonl is not what ../moved/runs/first was trained on" in said
    assert "give it with --data" in said
    Path("rows.jsonl").unlink()
    assert "which ../moved/runs/first was trained on, is n" in refused(
        capsys, "../moved/runs/first"
    )


def test_a_run_s_configuration_trained_from_another_folder_takes_its_own_rows(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_in(folder / "one", "w3 w4 w5", monkeypatch)
    (folder / "two").mkdir()
    monkeypatch.chdir(folder / "two")
    runs.write_jsonl(Path("rows.jsonl"), [{"question": "w9", "answer": "w8"}])
    config = str(run / "config.yaml")
    assert main(["check", config, "--data-only"]) == 0
    assert r"learn | w3 w4 w5" in capsys.readouterr().out
    (folder / "one/rows.jsonl").unlink()
    assert main(["check", config, "--data-only"]) == 2
    assert "name it with data.train=FILE" in capsys.readouterr().err
    assert main(["check", config, "--data-only", "data.train=rows.jsonl"]) == 0
    assert "learn | w8" in capsys.readouterr().out
