"""Every recipe trains: on a small model built like its own, on rows like its data's, with every
other setting as it stands."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from safetensors import safe_open
from transformers import AutoTokenizer

from otr import runs
from otr.commands.main import main
from otr.evaluation.benchmarks import load_benchmarks
from otr.evaluation.sources import source_of
from otr.study.file import load_study
from otr.study.plan import own_options, run_of
from otr.training.check import check
from otr.training.config import Run, load_run, to_yaml
from tests.recipes.small import NOT_LEARNED, write_model, write_rows

pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
FILES = {
    str(path.relative_to(RECIPES)): runs.read_yaml(path) for path in sorted(RECIPES.rglob("*.yaml"))
}
STUDIES = [name for name, document in FILES.items() if "objectives" in document]
BENCHMARKS = [name for name, document in FILES.items() if "columns" in document]
SINGLE = [name for name in FILES if name not in (*STUDIES, *BENCHMARKS)]
NAMES = [*SINGLE, *STUDIES]

CHANGED = {
    "model", "output_dir", "data.train", "training.output_dir", "training.max_steps",
    "training.max_length", "training.per_device_train_batch_size",
    "training.gradient_accumulation_steps",
}  # fmt: skip
"""What the small run has otherwise than the recipe."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def small(hub_id: str) -> Path:
        folder = tmp_path_factory.mktemp("model")
        write_model(hub_id, folder)
        return folder

    return small


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def smaller(run: Run, models: Any, folder: Path) -> list[str]:
    """The overrides of the small run, all of what `CHANGED` names."""
    words = [f"output_dir={folder / 'run'}", "training.max_steps=2"]
    if run.model.startswith("demo"):
        return words
    accumulated = min(run.training.get("gradient_accumulation_steps", 1), 2)
    return [
        *words,
        f"model={models(run.model)}",
        f"data.train={write_rows(run.data, folder)}",
        "training.max_length=512",
        "training.per_device_train_batch_size=2",
        f"training.gradient_accumulation_steps={accumulated}",
    ]


def assert_trained(run: Run, folder: Path) -> None:
    lines = [line for line in runs.read_jsonl(folder / runs.METRICS) if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 < line["nll"] < 20 and line["grad_norm"] > 0 for line in lines)
    resolved = YAML(typ="safe").load((folder / runs.CONFIG).read_text())
    asked = YAML(typ="safe").load(to_yaml(run))
    for key, value in leaves(asked):
        if key not in CHANGED and value is not None:
            assert dict(leaves(resolved)).get(key) == value, key
    files = [path.name for path in (folder / runs.MODEL).glob("*.safetensors")]
    assert files == ["adapter_model.safetensors" if run.lora else "model.safetensors"]
    if run.lora:
        with safe_open(folder / runs.MODEL / files[0], "np") as weights:
            first = next(name for name in weights.keys() if "lora_A" in name)  # noqa: SIM118
            assert weights.get_slice(first).get_shape()[0] == run.lora["r"]


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for key in value for leaf in leaves(value[key], f"{path}.{key}".lstrip("."))]


@pytest.mark.parametrize("name", SINGLE)
def test_a_recipe_trains_with_its_own_settings(
    name: str, models: Any, tmp_path: Path, at_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load_run(RECIPES / name)
    assert main(["train", str(RECIPES / name), *smaller(run, models, tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "PROBLEM" not in said
    if run.data.overlong == "drop":
        assert "1 example: dropped, longer than training.max_length=512" in said
    assert_trained(run, tmp_path / "run")


@pytest.mark.parametrize("name", SINGLE)
def test_what_is_learned_ends_with_the_token_that_generation_stops_at(
    name: str, models: Any, tmp_path: Path, at_root: None
) -> None:
    run = load_run(RECIPES / name)
    run = load_run(RECIPES / name, smaller(run, models, tmp_path))
    found = check(run, str(tmp_path / "check"), with_model=False).audit
    learned = "".join(text for is_learned, text in found.first if is_learned)
    end = (
        run.training.get("eos_token")
        or AutoTokenizer.from_pretrained(
            ROOT / "src/otr/demo/bases/strong" if run.model == "demo" else run.model
        ).eos_token
    )
    assert learned.endswith(end)
    assert set(found.report.end_tokens) == {end}
    assert not found.problems or found.report.dropped
    assert NOT_LEARNED not in learned
    if run.data.train.endswith(".parquet"):
        assert learned.startswith("<think>\nI add. 1 + 7.") and "boxed{8}" in learned


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_s_runs_train_and_its_benchmarks_are_known(
    name: str, models: Any, tmp_path: Path, at_root: None
) -> None:
    study = load_study(RECIPES / name)
    benchmarks = [each for group in study.benchmarks.groups().values() for each in group]
    for each in [*benchmarks, study.validation.benchmark]:
        # Programs are run only with --run-code, which a recipe cannot ask for.
        assert source_of(each).rule != "code"
    rates = study.learning_rates
    assert len(rates) > 2 and len(study.seeds) > 2
    for number, options in enumerate(study.objectives):
        run = run_of(study, options, rates[number % len(rates)], study.seeds[0])
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "run.yaml").write_text(to_yaml(run))
        assert main(["train", str(folder / "run.yaml"), *smaller(run, models, folder)]) == 0
        assert run.objective == own_options(options)
        assert_trained(run, folder / "run")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_s_questions_are_asked_as_our_own_are(name: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "How many?", "answer": "So 5.\\n#### 5"}\n')
    rows = tmp_path / "rows.jsonl"
    (found,) = load_benchmarks([f"{RECIPES / name}={rows}"])
    (known,) = load_benchmarks([f"gsm8k={rows}"])
    assert found.questions[0].prompt == known.questions[0].prompt == "How many?\n"
    assert found.questions[0].messages == known.questions[0].messages
    assert (found.rule, found.max_new_tokens) == (known.rule, known.max_new_tokens)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("paper/")])
def test_the_paper_s_recipes_say_of_every_value_whose_it_is(name: str) -> None:
    papers, unsaid = set(), set()
    for line in (RECIPES / name).read_text().splitlines():
        found = re.fullmatch(r" *(?:- )?(\w+): +([^#]+?) *(?:# (.*))?", line)
        if found and not (found[3] or "").startswith("ours"):
            (papers if (found[3] or "").startswith("the paper's") else unsaid).add(found[1])
    # Names of our own making, and of objectives.
    assert unsaid <= {"name", "output_dir", "title"}
    known = {"model", "train", "num_rollouts", "temperature", "in_domain", "out_of_domain"}
    assert {"model", "train", "num_rollouts", "temperature"} <= papers <= known
    document = runs.read_yaml(RECIPES / name)
    (otr,) = [each for each in document.get("objectives", [document.get("objective")])
              if each["name"] == "otr"]  # fmt: skip
    assert (otr["num_rollouts"], otr["temperature"]) == (256, 1.3)


def commands() -> list[list[str]]:
    """The commands of README.md's table and of the recipes' own heads."""
    readme = (RECIPES / "README.md").read_text()
    texts = re.findall(r"`((?:otr|accelerate)[^`]*recipes/[^`]*)`", readme)
    for name in NAMES:
        head = (RECIPES / name).read_text()
        texts += re.findall(r"^#   ((?:otr|accelerate) .*recipes/.*)$", head, re.MULTILINE)
    return [shlex.split(text) for text in texts]


def test_every_recipe_is_in_the_readme_and_every_command_is_right(at_root: None) -> None:
    named = set()
    for words in commands():
        at = next(i for i, word in enumerate(words) if word.startswith("recipes/"))
        path, overrides = words[at], [word for word in words[at + 1 :] if "=" in word]
        named.add(path.removeprefix("recipes/"))
        if words[0] == "otr" and words[1] == "compare":
            load_study(path, overrides)
        else:
            assert words[at - 1] in ("train", "check")
            assert "objectives" not in FILES[path.removeprefix("recipes/")]
            load_run(path, overrides)
        if "--config_file" in words:
            assert Path(words[words.index("--config_file") + 1]).is_file()
    readme = (RECIPES / "README.md").read_text()
    assert named == set(NAMES)
    assert all(f"`{name}`" in readme for name in FILES)
