"""What users get from `pip install otr`: everything it needs, and nothing else."""

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from safetensors import safe_open

from otr import __version__
from tests.packaging.distributions import REPOSITORY, built, environment, run

pytestmark = pytest.mark.slow

EXTRAS_ONLY = ("math_verify", "latex2sympy2_extended", "lm_eval", "cut_cross_entropy", "pytest")

LIBRARY = """
import importlib.util, json, sys
import torch
import otr
from otr import DFT, OTR, SFT, OTRTrainer, linear_loss, logits_loss
weight, labels = torch.eye(5)[:4], torch.tensor([0, 1, -100, 3])
out = linear_loss(torch.zeros(4, 5), torch.ones(7, 5), labels, SFT())
from otr.commands.main import main
status = main(["eval", "demo", "--benchmark", "math500=questions.jsonl"])
print(json.dumps({
    "status": status,
    "file": otr.__file__,
    "loss": out.loss.item(),
    "found": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
}))
"""

RECIPE = """\
model: demo-weak
data: {train: rows.jsonl}
training: {max_steps: 2, per_device_train_batch_size: 2}
samples: {every_steps: 0}
output_dir: runs/first
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="module")
def python(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("environment"), distributions[1])


def test_the_wheel_holds_every_file_of_the_package_and_no_other(
    distributions: tuple[Path, Path],
) -> None:
    source, wheel = distributions
    package = REPOSITORY / "src"
    wanted = {
        str(path.relative_to(package))
        for path in (package / "otr").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    kinds = Counter(Path(name).suffix for name in wanted)
    assert kinds[".safetensors"] == 3 and kinds[".yaml"] >= 11 and "otr/py.typed" in wanted
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        information = {name for name in held if name.startswith(f"otr-{__version__}.dist-info/")}
        assert held - information == wanted
        assert {Path(name).name for name in information} == {
            "METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE",
        }  # fmt: skip
        (license_,) = (name for name in information if name.endswith("/LICENSE"))
        assert archive.read(license_) == (REPOSITORY / "LICENSE").read_bytes()
        record = archive.read(f"otr-{__version__}.dist-info/RECORD").decode()
    assert {row[0] for row in csv.reader(record.splitlines())} == held
    assert wheel.stat().st_size < 5e6 and source.stat().st_size < 5e6


def test_the_library_runs_on_what_the_wheel_requires_and_says_which_extra_is_missing(
    python: Path, tmp_path: Path
) -> None:
    row = json.dumps({"problem": "1 + 1?", "answer": "2", "unique_id": "a", "subject": "x"})
    (tmp_path / "questions.jsonl").write_text(f"{row}\n")
    done = run(python, "-W", "ignore", "-c", LIBRARY, *EXTRAS_ONLY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert Path(said["file"]).is_relative_to(python.parents[1])
    assert said["found"] == []
    assert said["loss"] == pytest.approx(1.9459101, abs=1e-6)  # log 7
    assert said["status"] == 2
    # The wheel is a file, so the extra comes from it: an index may have another otr.
    assert "not installed; `pip install 'otr[eval] @ file://" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_installed_command_trains(python: Path, tmp_path: Path) -> None:
    command = python.with_name("otr")
    done = run(command, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"otr {__version__}\n")
    assert run(command, "--help", cwd=tmp_path).stdout.startswith("usage: otr")
    assert "otr" in run(command, "completion", "bash", cwd=tmp_path).stdout
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    row = json.dumps({"prompt": "add 1 :", "completion": "ans 1"})
    (tmp_path / "rows.jsonl").write_text(f"{row}\n" * 4)
    done = run(command, "train", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = (tmp_path / "runs/first/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == [1, 2]
    with safe_open(tmp_path / "runs/first/model/model.safetensors", "pt") as model:
        assert len(list(model.keys())) > 10
