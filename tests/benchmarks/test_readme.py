"""The README's tables: made from results alone, and any other text is noticed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.measuring import paired_ratio
from benchmarks.readme import BEGIN, END, main

_AROUND = f"# A project\n\nBefore.\n\n{BEGIN}\n{END}\n\nAfter.\n"


def _case(name: str) -> dict[str, Any]:
    """A case of 512 × 896 × 151,936, whose rounds make SFT cost 1.10 of the products."""
    seconds = {"gemms": [1.0, 2.0], "SFT": [1.1, 2.2], "OTR": [1.2, 2.3]}
    heads: dict[str, Any] = {}
    for head, each in seconds.items():
        ratio = paired_ratio(each, seconds["gemms"])
        assert ratio is not None
        heads[head] = {"seconds": each, "median_seconds": 1.0, "to_gemms": ratio.as_json()}
    heads["Liger"] = {"skipped": "needs CUDA"}
    sizes = {"rows": 512, "width": 896, "vocabulary": 151936, "dtype": "float32"}
    return {"name": name, **sizes, "heads": heads}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A results file and a README."""
    machine = {
        "device": "A processor", "threads": 1, "versions": {"torch": "2.13.0"}, "date": "2026-01-02",
    }  # fmt: skip
    reached = {"name": "our SFT / three GEMMs", "at": "main", "at_most": 1.15, "unit": "times"}
    results = {
        "machine": machine,
        "quick": False,
        "states": {},
        "cases": [_case("main")],
        "accuracy": [],
        "memory": [],
        "targets": [reached | {"reached": 1.1, "verdict": "reached"}],
    }
    stored, readme = tmp_path / "a-processor.json", tmp_path / "README.md"
    stored.write_text(json.dumps(results))
    readme.write_text(_AROUND)
    return stored, readme


def test_the_tables_are_made_once_and_then_stay(files: tuple[Path, Path]) -> None:
    stored, readme = files
    words = [str(stored), "--readme", str(readme)]
    assert main([*words, "--check"]) == 1
    assert readme.read_text() == _AROUND
    assert main(words) == 0
    made = readme.read_text()
    assert "| **otr: SFT** | 1,000 | 1.10 (1.10–1.10) |" in made
    assert "Skipped: Liger (needs CUDA)." in made
    assert "| our SFT / three GEMMs | main | 1.15 | 1.100 | reached |" in made
    assert made.startswith("# A project\n\nBefore.\n") and made.endswith("\nAfter.\n")
    assert main([*words, "--check"]) == 0
    assert main(words) == 0
    assert readme.read_text() == made


def test_an_edited_figure_is_noticed(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    stored, readme = files
    words = [str(stored), "--readme", str(readme)]
    assert main(words) == 0
    readme.write_text(readme.read_text().replace("| 1.100 | reached |", "| 1.010 | reached |"))
    assert main([*words, "--check"]) == 1
    assert "python -m benchmarks.readme" in capsys.readouterr().err


def test_a_readme_without_marks_is_left_alone(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    stored, readme = files
    readme.write_text("# A project\n")
    assert main([str(stored), "--readme", str(readme)]) == 1
    assert BEGIN in capsys.readouterr().err
    assert readme.read_text() == "# A project\n"


def test_the_project_s_readme_shows_its_results() -> None:
    assert main(["--check"]) == 0


def test_the_gpu_run_says_so_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 0
    assert "sees no CUDA device" in capsys.readouterr().out


def test_the_gpu_run_reports_a_failing_test_and_still_measures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[list[str]] = []

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        ran.append(words[2:])
        return subprocess.CompletedProcess(words, 1 if "pytest" in words else 0)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(subprocess, "run", run)
    assert gpu.main() == 1
    assert [words[0] for words in ran] == ["pytest", "benchmarks"]
    assert all(Path(name).is_file() for name in ran[0][2:])
