"""What is said about wrong words, and what is loaded to say it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otr import __version__
from otr.commands.main import main
from otr.commands.parser import COMMANDS, parsed

HEAVY = (
    "torch", "triton", "transformers", "trl", "numpy", "scipy", "pydantic", "ruamel.yaml",
    "matplotlib", "datasets", "jinja2",
)  # fmt: skip

WRONG = {
    "trian": "otr: no command 'trian'; did you mean 'train'?",
    "recipe.yaml": "otr: recipe.yaml is a file; name what to do with it, for example "
    "`otr train recipe.yaml`",
    "--verison": "otr: no option --verison; did you mean '--version'?",
    "train": "otr train: the following arguments are required: recipe; `otr train --help`",
    "compare": "otr compare: the following arguments are required: study; `otr compare --help`",
    "train recipe.yaml --fast": "otr train: no option --fast; settings are written without dashes",
    "train recipe.yaml --restrat": "otr train: no option --restrat; did you mean '--restart'?",
    "train objective.name=sft": "`otr train recipe.yaml objective.name=sft`",
    "eval": "otr eval: the following arguments are required: model; `otr eval --help`",
    "eval demo --temprature 1": "otr eval: no option --temprature; did you mean '--temperature'?",
    "eval demo --samples x": "otr eval: argument --samples: invalid int value: 'x'",
    "inspect demo more": "otr inspect: one word too many: 'more'",
    "report": "otr report: the following arguments are required: FOLDER",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_end_in_one_line_that_names_the_way_out(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").touch()
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert WRONG[words] in said.err
    assert len(said.err.splitlines()) == 1


def test_no_words_at_all_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: otr")
    assert all(re.search(rf"^    {name}\s", said, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_s_help_shows_an_example_of_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"example:\n  otr {command}" in capsys.readouterr().out


def test_overrides_and_options_may_be_mixed() -> None:
    arguments = parsed(["train", "a.yaml", "seed=1", "--restart", "model=demo"])
    assert (arguments.recipe, arguments.restart) == ("a.yaml", True)
    assert arguments.overrides == ["seed=1", "model=demo"]
    assert parsed(["check", "--data-only", "a.yaml", "seed=1"]).overrides == ["seed=1"]
    assert parsed(["compare", "a.yaml", "--jobs", "2", "seeds=[0]"]).overrides == ["seeds=[0]"]
    assert parsed(["train", "a.yaml"]).overrides == []


LOADED = """
import contextlib, io, json, sys
from importlib import import_module
loaded = {}
def note(what):
    loaded[what] = [name for name in sys.argv[1:] if name in sys.modules]
import_module("otr")
note("import otr")
from otr.commands.main import main
for words in (["--version"], ["--help"], [], ["trian"], *json.loads(sys.stdin.read())):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(words)
        except SystemExit:
            pass
    note(" ".join(words))
print(json.dumps(loaded))
"""


def test_help_of_every_command_loads_no_heavy_library() -> None:
    helps = [[command, "--help"] for command in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *HEAVY],
        input=json.dumps(helps),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(done.stdout)
    assert set(loaded) >= {"import otr", "--help", "train --help", "eval --help"}
    assert loaded == dict.fromkeys(loaded, [])


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "otr", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, f"otr {__version__}\n")
