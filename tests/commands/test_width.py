"""Every command's output fits 80 columns, also what is drawn on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otr.commands.main import main
from otr.commands.parser import COMMANDS
from otr.evaluation.table import table
from otr.study.file import load_study
from otr.study.pipeline import compared
from otr.study.plan import planned_jobs
from otr.terminal import num_cells
from tests.study.studies import write_study

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTH = 80
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def too_wide(text: str) -> list[str]:
    lines = [ANSI.sub("", line) for line in re.split(r"[\r\n]", text)]
    return [line for line in lines if num_cells(line) > WIDTH]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    rows = [
        {"question": f"Add {a} and the other numbers that follow it, one by one, up to {a + 9} :",
         "answer": f"{a} " * a + "is what comes out of all that, and 数学 is what it is called."}
        for a in range(2, 12)
    ]  # fmt: skip
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("recipe.yaml").write_text(
        "model: demo\ndata: {train: rows.jsonl, prompt: question, completion: answer}\n"
        "objective: {name: otr}\noutput_dir: runs/first\nsamples: {every_steps: 2}\n"
        "training: {max_length: 400, max_steps: 4, per_device_train_batch_size: 2}\n"
    )
    return tmp_path


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert too_wide(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    "words",
    [
        "check recipe.yaml --seconds 2",
        "check recipe.yaml --data-only training.max_length=100",
        "check recipe.yaml --data-only training.max_length=60 data.overlong=truncate",
        "check recipe.yaml --against demo/in_domain",
        "inspect demo --data rows.jsonl --prompt question --completion answer --row 3",
        "inspect demo --data rows.jsonl --prompt question --completion answer --objective gem "
        "--objective label-smoothing --objective unlikelihood --objective focal --objective eaft "
        "--set gem.beta=0.123 label_smoothing.epsilon=0.2",
    ],
)
def test_what_a_command_prints_fits(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) in (0, 2)
    out = capsys.readouterr().out
    assert out and too_wide(out) == []


def test_inspect_in_colour_fits_and_breaks_no_row_of_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "inspect demo --data rows.jsonl --prompt question --completion answer".split()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "\x1b[" in out and too_wide(out) == []
    head = next(line for line in out.splitlines() if line.startswith("weight on"))
    assert head.split()[-5:] == ["SFT", "DFT", "OTR", "OTR", "(exact)"]


def test_a_comparison_of_many_columns_is_split_and_none_is_lost(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        title="a small study with a title that is longer than it has to be",
        benchmarks={
            "in_domain": ["demo/in_domain", "demo/longer"],
            "out_of_domain": ["demo/phrasing"],
            "retention": ["demo/retention"],
        },
    )
    study = load_study(path)
    jobs = planned_jobs(study)
    scored = {"accuracy": 0.75, "n": 4, "interval_95": [0.3, 0.95]}
    for job in jobs:
        job.folder.mkdir(parents=True)
        names = job.benchmarks
        (job.folder / "scores.json").write_text(json.dumps({name: scored for name in names}))
        answers = [
            {"benchmark": name, "id": f"{name}/{i}", "category": "add", "sample": 0,
             "correct": i != 3, "output": "1", "reference": "1", "extracted": "1",
             "truncated": False, "problem": None, "num_tokens": 1, "prompt": "1"}
            for name in names
            for i in range(4)
        ]  # fmt: skip
        (job.folder / "answers.jsonl").write_text("".join(json.dumps(a) + "\n" for a in answers))
        if job.run is not None:
            from otr import runs
            from otr.training.config import to_yaml

            (job.folder / "config.yaml").write_text(to_yaml(job.run))
            cost = {"seconds": 1.0, "num_steps": 3, "num_tokens": 10, "tokens_per_second": 10.0,
                    "peak_memory_mb": 1.0, "head_share": 0.1}  # fmt: skip
            runs.write_json(job.folder / "cost.json", cost)
            (job.folder / "model").mkdir()
    shown = table(compared(study, jobs))
    assert too_wide(shown) == []
    for heading in ("learning rate", "in_domain", "longer", "out_of_domain", "retention"):
        assert heading in shown
    assert shown.count("\n  SFT") == shown.count("\n  untuned") > 1


def on_a_terminal(*words: str) -> str:
    """What a command writes on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    with subprocess.Popen(
        [sys.executable, "-m", "otr", *words], stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment,
    ) as process:  # fmt: skip
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                break
            if not part:
                break
            parts.append(part)
        assert process.wait(120) == 0, b"".join(parts)
    os.close(ours)
    return b"".join(parts).decode()


def test_bars_and_samples_fit_a_terminal() -> None:
    shown = on_a_terminal("train", "recipe.yaml")
    assert too_wide(shown) == []
    assert "the loss of otr may be below 0, which is no error; watch nll instead" in shown
    bars = [line for line in re.split(r"[\r\n]", shown) if "tokens/s" in line]
    # Whole figures, and a bar that can be seen to grow.
    assert bars and all(line.rstrip().endswith("tokens/s") for line in bars)
    assert all(len(line.split("|")[1]) >= 10 for line in bars)
    (sample, *_) = [line for line in re.split(r"[\r\n]+", shown) if line.startswith("step 2: ")]
    assert sample.startswith("step 2: … ")
    shown = on_a_terminal("eval", "runs/first", "--benchmark", "demo/in_domain", "--limit", "3")
    assert too_wide(shown) == []
    assert any(re.search(r"[123] running, \d+ of at most 48 tokens", line) for line in [shown])
