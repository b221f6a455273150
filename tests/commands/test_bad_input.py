"""Every mistake ends in a few lines that name it, with status 2, and leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from otr.commands.main import main

pytestmark = pytest.mark.filterwarnings("ignore")

RECIPE = """\
model: demo
data:
  train: rows.jsonl
  prompt: question
  completion: answer
  separator: " "
objective:
  name: otr
training:
  max_steps: 1
  per_device_train_batch_size: 2
samples: {every_steps: 0}
output_dir: runs/first
"""

ROWS = [{"question": "add 8 3 and 4 8 :", "answer": "ans 1 3 1 ."}] * 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and data that are right."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    write_rows(tmp_path, ROWS)
    return tmp_path


def write_rows(folder: Path, rows: list) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(old: str, new: str) -> Callable[[Path], None]:
    """A change of the recipe's text."""

    def change(folder: Path) -> None:
        assert old in RECIPE
        (folder / "recipe.yaml").write_text(RECIPE.replace(old, new))

    return change


def rows(*lines: str) -> Callable[[Path], None]:
    """Other lines in the data file."""
    return file("rows.jsonl", "\n".join(lines) + "\n")


def file(name: str, content: str | bytes) -> Callable[[Path], None]:
    """One more file."""

    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def nothing(folder: Path) -> None:
    """The mistake is in the words of the command."""


GOOD = json.dumps(ROWS[0])

RECIPES = {
    "no such file": (nothing, ["missing.yaml"], "missing.yaml: no such file"),
    "another ending": (nothing, ["recipe.yml"], "recipe.yml: no such file; did you mean 'recipe.yaml'?"),
    "an objective that is a word": (recipe("objective:\n  name: otr", "objective: dft"), [], "line 7: objective: must be a section, as `objective: {name: dft}` in the file or objective.name=dft after it, found 'dft'"),
    "a rate at the top": (nothing, ["recipe.yaml", "learning_rate=1e-4"], "learning_rate=1e-4 (command line): no such key; did you mean 'training.learning_rate'?"),
    "rollouts at the top": (nothing, ["recipe.yaml", "num_rollouts=4"], "num_rollouts=4 (command line): no such key; did you mean 'objective.num_rollouts'?"),
    "a study": (file("recipe.yaml", "base: {model: demo}\nobjectives: [{name: sft}]\n"), [], "recipe.yaml: is a study file; `otr compare recipe.yaml` runs it"),
    "a list of files": (recipe("train: rows.jsonl", "train: [rows.jsonl]"), [], "data.train: must be text, found a list"),
    "no blank after a colon": (recipe("model: demo", "model:demo"), [], "line 2: not valid YAML: mapping values are not allowed here; look at the indentation"),
    "a column at the top": (recipe("  prompt:", "prompt:"), [], "not valid YAML"),
    "a misspelt file": (nothing, ["recpie.yaml"], "recpie.yaml: no such file; did you mean 'recipe.yaml'?"),
    "a folder": (file("sub/x", ""), ["sub"], "sub: cannot be read"),
    "not YAML": (file("recipe.yaml", "model: [demo\ndata: 3"), [], "recipe.yaml, line 2: not valid"),
    "empty": (file("recipe.yaml", ""), [], "expected sections such as `model:`"),
    "a list": (file("recipe.yaml", "- model: demo"), [], "expected sections"),
    "not text": (file("recipe.yaml", b"\xff\xfe\x00"), [], "not UTF-8 text"),
    "a tab": (file("recipe.yaml", "model: demo\n\tdata: 1\n"), [], "line 2: not valid YAML"),
    "a key twice": (recipe("model: demo", "model: demo\nmodel: qwen"), [], "line 2: not valid YAML"),
    "a misspelt section": (recipe("training:", "trainning:"), [], "line 9: trainning: no such key; did you mean 'training'"),
    "a misspelt key": (recipe("prompt:", "promt:"), [], "line 4: data.promt: no such key; did you mean 'prompt'"),
    "a missing section": (recipe("output_dir: runs/first\n", ""), [], "output_dir: is missing; add it"),
    "a missing key": (recipe("  train: rows.jsonl\n", ""), [], "data.train: is missing"),
    "a wrong type": (recipe("separator: \" \"", "limit: many"), [], "line 6: data.limit: must be a whole number, found 'many'"),
    "a wrong choice": (recipe("separator: \" \"", "overlong: cut"), [], "data.overlong: must be 'error', 'drop' or 'truncate', found 'cut'"),
    "a negative seed": (nothing, ["recipe.yaml", "seed=-1"], "seed=-1 (command line): must be greater than or equal to 0, found -1"),
    "a section that is a value": (recipe("training:\n  max_steps: 1\n  per_device_train_batch_size: 2", "training: 3"), [], "line 9: training: must be a section, with keys of its own, found 3"),
    "an empty model": (nothing, ["recipe.yaml", "model=''"], "model='' (command line): is empty"),
    "an override without value": (nothing, ["recipe.yaml", "seed"], "override 'seed': expected section.key=value"),
    "an override through a value": (nothing, ["recipe.yaml", "model.name=x"], "model is a value, not a section"),
    "an override that is not YAML": (nothing, ["recipe.yaml", "seed=[1"], "the value is not valid YAML"),
    "a misspelt override": (nothing, ["recipe.yaml", "training.learning_rat=1"], "training.learning_rat: SFTConfig has no such field; did you mean 'learning_rate'"),
}  # fmt: skip

SETTINGS = {
    "an unknown objective": (["objective.name=ort"], "objective.name must be one of sft, label-smoothing, otr, dft, power, eaft, focal, gem, unlikelihood, found 'ort'; did you mean 'otr'"),
    "an objective in capitals": (["objective.name=SFT"], "found 'SFT'; did you mean 'sft'?"),
    "an option of no objective": (["objective.nmae=sft"], "objective.nmae: otr has no such option; did you mean 'name'?"),
    "another trainer's rate": (["training.lr=1e-4"], "training.lr: SFTConfig has no such field; did you mean 'learning_rate'?"),
    "another trainer's batch": (["training.batch_size=8"], "did you mean 'per_device_train_batch_size'?"),
    "no steps": (["training.max_steps=0"], "training.max_steps: must be at least 1, or -1 for whole epochs, found 0"),
    "another objective's option": (["objective.name=sft", "objective.temperature=2"], "objective.temperature: sft has no such option"),
    "no rollouts": (["objective.num_rollouts=0"], "objective.num_rollouts must be a whole number of at least 1, found 0"),
    "a temperature of 0": (["objective.temperature=0"], "objective.temperature must be above 0, found 0"),
    "a reward of 1": (["objective.wrong_reward=1"], "objective.wrong_reward must be below 1, found 1"),
    "a bound of 1": (["compaction=1"], "compaction=1 (command line): must be `off` or a bound between 0 and 0.5, found 1"),
    "compaction in words": (["compaction=on"], "compaction=on (command line): must be `off` or a bound between 0 and 0.5, found 'on'"),
    "a learning rate in words": (["training.learning_rate=fast"], "training.learning_rate: must be a number, found 'fast'"),
    "a negative learning rate": (["training.learning_rate=-1"], "training.learning_rate: must be at least 0, found -1.0"),
    "half a step": (["training.max_steps=1.5"], "training.max_steps: must be a whole number, found 1.5"),
    "no batch": (["training.per_device_train_batch_size=0"], "training.per_device_train_batch_size: must be at least 1, found 0"),
    "an unknown scheduler": (["training.lr_scheduler_type=wavy"], "wavy"),
    "a second objective": (["training.label_smoothing_factor=0.1"], "label_smoothing_factor=0.1 would be a second objective"),
    "a loss type": (["training.loss_type=dft"], "training.loss_type: set by otr itself (give `objective:`)"),
    "an output folder below training": (["training.output_dir=x"], "training.output_dir: set by otr itself"),
    "a mask setting": (["training.assistant_only_loss=true"], "training.assistant_only_loss: the `data:` section decides"),
    "no such end token": (["training.eos_token='<stop>'"], "training.eos_token: '<stop>' is not in the model's vocabulary"),
    "no such template": (["training.chat_template_path=x.jinja"], "there is no file 'x.jinja'"),
    "the attention": (["training.attn_implementation=sdpa"], "did you mean 'model_init_kwargs.attn_implementation'?"),
    "a package that is not there": (["training.use_liger_kernel=true"], "training.use_liger_kernel: liger_kernel is not installed; pip install liger-kernel, or leave it out"),
    "no rank": (["lora.r=0"], "lora.r: `r` should be a positive integer value"),
    "a misspelt lora field": (["lora.rank=8"], "lora.rank: LoraConfig has no such field"),
    "an adapter on the head": (["lora.target_modules=[lm_head]"], "lm_head"),
    "an adapter nowhere": (["lora.target_modules=[nowhere]"], "lora.target_modules: Target modules"),
    "rows too long": (["training.max_length=8"], "4 of 4 examples are longer than training.max_length=8"),
    "rows all dropped": (["training.max_length=8", "data.overlong=drop"], "none of the 4 rows is left"),
    "no such data": (["data.train=row.jsonl"], "row.jsonl: no such file; did you mean 'rows.jsonl'"),
    "no such column": (["data.prompt=questions"], "did you mean 'question'"),
    "prompt without completion": (["data.completion=null"], "completion"),
    "messages and prompt": (["data.messages=chat"], "messages"),
    "no such validation data": (["data.validation=other.jsonl"], "other.jsonl: no such file"),
    "no such model folder": (["model=./models/first"], "model: there is no folder './models/first'"),
    "a model that is a file": (["model=rows.jsonl"], "model: 'rows.jsonl' is a file; give the folder"),
    "an output folder that is a file": (["output_dir=rows.jsonl"], "output_dir: rows.jsonl is a file"),
    "an output folder of somebody else": (["output_dir=."], "holds files that are not a run's"),
}  # fmt: skip

DATA = {
    "not JSON": (rows(GOOD, "{question"), "rows.jsonl, line 2"),
    "no object": (rows(GOOD, "[1, 2]"), "rows.jsonl, line 2"),
    "nothing": (rows(""), "rows.jsonl"),
    "an answer that is a number": (rows(GOOD, '{"question": "a", "answer": 3}'), "rows.jsonl, line 2"),
    "an answer that is missing": (rows(GOOD, '{"question": "a"}'), "rows.jsonl, line 2"),
    "an answer that is empty": (rows(GOOD, '{"question": "a", "answer": " "}'), "rows.jsonl, line 2"),
    "bytes that are no text": (file("rows.jsonl", b"\xff\xfe{}"), "rows.jsonl"),
}  # fmt: skip

MODELS = {
    "no config": (file("model/x", ""), "the folder 'model' has no config.json"),
    "a broken config": (file("model/config.json", "{"), "model/config.json: not valid JSON"),
    "an unknown architecture": (file("model/config.json", '{"model_type": "nothing"}'), "cannot load 'model'"),
    "no weights or tokenizer": (file("model/config.json", '{"model_type": "llama"}'), "cannot load 'model'"),
}  # fmt: skip


def refused(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused, and return what it said."""
    before = sorted(path for path in folder.rglob("*"))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert 0 < len(said.splitlines()) <= 6, said
    assert "Traceback" not in said and len(said) < 1500
    assert sorted(path for path in folder.rglob("*")) == before, "something was left behind"
    return said


@pytest.mark.parametrize("name", RECIPES)
def test_a_wrong_recipe_is_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words, message = RECIPES[name]
    change(folder)
    assert message in refused(["train", *(words or ["recipe.yaml"])], folder, capsys)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_is_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides, message = SETTINGS[name]
    assert message in refused(["train", "recipe.yaml", *overrides], folder, capsys)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("command", ["train", "check"])
def test_wrong_data_are_refused(
    name: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = DATA[name]
    change(folder)
    assert message in refused([command, "recipe.yaml"], folder, capsys)


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_model_folder_is_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = MODELS[name]
    change(folder)
    assert message in refused(["train", "recipe.yaml", "model=model"], folder, capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", "demo", "--benchmark", "dmo"], "did you mean 'demo'"),
        (["eval", "demo", "--benchmark", "rows.jsonl"], "as in gsm8k=rows.jsonl"),
        (
            ["eval", "demo", "--benchmark", "demo/in_domain", "--output", "rows.jsonl"],
            "--output: rows.jsonl cannot be written: Not a directory",
        ),
        (["report", "run"], "run: no such folder"),
        (["eval", "demo", "--benchmark", "gsm8k=none.jsonl"], "none.jsonl"),
        (["eval", "demo", "--benchmark", "demo/in_domain", "--samples", "4"], "temperature"),
        (["eval", "demo", "--benchmark", "demo/in_domain", "--limit", "0"], "limit"),
        (["eval", "nowhere/at/all", "--benchmark", "demo/in_domain"], "there is no folder"),
    ],
)
def test_a_wrong_evaluation_is_refused(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(words, folder, capsys)


def test_a_run_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "recipe.yaml"]) == 0
    assert main(["train", "recipe.yaml"]) == 0
    assert "already trained: runs/first; --restart" in capsys.readouterr().err
    metrics = (folder / "runs/first/metrics.jsonl").read_text()
    said = refused(["train", "recipe.yaml", "seed=9"], folder, capsys)
    assert "already holds a run" in said and "seed: was 0, now 9" in said
    # Not even with --restart, before everything else is known to be right.
    said = refused(["train", "recipe.yaml", "objective.name=ort", "--restart"], folder, capsys)
    assert "objective.name" in said
    refused(["train", "recipe.yaml", "lora.target_modules=[lm_head]", "--restart"], folder, capsys)
    assert (folder / "runs/first/metrics.jsonl").read_text() == metrics
    (folder / "runs/first/notes.txt").write_text("mine")
    assert main(["train", "recipe.yaml", "--restart"]) == 0
    assert (folder / "runs/first/notes.txt").read_text() == "mine"
    assert len((folder / "runs/first/metrics.jsonl").read_text().splitlines()) == 1


def test_an_objective_without_a_name_is_otr(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe("objective:\n  name: otr\n", "")(folder)
    said = refused(["train", "recipe.yaml", "objective.num_rollouts=0"], folder, capsys)
    assert "objective.num_rollouts must be a whole number of at least 1, found 0" in said
    assert main(["train", "recipe.yaml", "objective.num_rollouts=4"]) == 0
    assert "objective otr with num_rollouts=4" in capsys.readouterr().err
    assert "num_rollouts: 4" in (folder / "runs/first/config.yaml").read_text()
