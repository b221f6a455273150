"""What documents claim that users can type: command lines and files, read by the real readers."""

import contextlib
import io
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from otr.commands.parser import COMMANDS, parsed
from otr.errors import UserError
from otr.evaluation.benchmark_file import BenchmarkFile
from otr.objectives import objective_from_options
from otr.study.file import Study, load_study
from otr.training.config import Run, load_run
from website import ROOT
from website.blocks import Block, blocks
from website.commands import parsers

_SPAN = re.compile(r"`(otr [^`]+)`")

_RUN = {
    "model": "demo",
    "data": {"train": "rows.jsonl", "text": "text"},
    "objective": {"name": "otr"},
    "output_dir": "runs/x",
}
_STUDY = {
    "base": {key: _RUN[key] for key in ("model", "data")},
    "objectives": [{"name": "sft"}],
    "learning_rates": [1e-4],
    "seeds": [0],
    "validation": {"benchmark": "demo/validation"},
    "benchmarks": {"in_domain": ["demo/in_domain"]},
    "output_dir": "studies/x",
}
"""What a part of a file is put into, to see whether it is right there."""


def wrong_claims(document: Path) -> list[str]:
    """A line for each command line or file of a document that its reader would refuse."""
    wrong = []
    for block in blocks(document):
        if block.language in ("yaml", "yml"):
            wrong += _wrong_yaml(block)
        elif block.language in ("", "bash", "sh", "console", "shell"):
            for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
                wrong += [f"{block.place}: {line.strip()}: {each}" for each in wrong_line(line)]
    text = document.read_text(encoding="utf-8")
    for match in _SPAN.finditer(text):
        wrong += [f"{document.name}: `{match[1]}`: {each}" for each in _wrong_span(match[1])]
    return wrong


def wrong_line(line: str) -> list[str]:
    """What is wrong with a command line, where it is one of ours."""
    words = [word for word in shlex.split(line.removeprefix("$ "), comments=True) if word != "…"]
    words = words[: words.index(">")] if ">" in words else words
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return []
    if "otr.commands.main" in words:
        return _wrong_otr(words[words.index("otr.commands.main") + 1 :])
    if words[0] in ("otr", ".venv/bin/otr"):
        return _wrong_otr(words[1:])
    if words[0] == "make":
        rules = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        targets = " ".join(rules).split()
        return [f"the Makefile has no {word}" for word in words[1:]
                if word not in targets and "=" not in word]  # fmt: skip
    return []


def _wrong_otr(words: list[str]) -> list[str]:
    if words and words[0].isupper():
        return []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            arguments = parsed(words)
    except UserError as error:
        return [str(error)]
    except SystemExit:
        return []
    overrides = getattr(arguments, "overrides", [])
    if arguments.command in ("train", "check"):
        return _refused(_RUN, overrides, load_run)
    return _refused(_STUDY, overrides, load_study) if arguments.command == "compare" else []


def _wrong_span(text: str) -> list[str]:
    """The same for a command that a sentence names, of which less needs to be there."""
    name, *rest = text.split()[1:]
    if name.isupper() or name in ("…", "--help", "--version"):
        return []
    if name not in COMMANDS:
        return ["there is no such command"]
    known = {option for action in parsers()[name]._actions for option in action.option_strings}
    given = (word.partition("=")[0] for word in rest if word.startswith("-"))
    return [f"there is no {option}" for option in given if option not in known]


def _wrong_yaml(block: Block) -> list[str]:
    try:
        document = YAML(typ="safe", pure=True).load(block.text)
    except YAMLError as error:
        return [f"{block.place}: {error}"]
    if isinstance(document, dict):
        # axolotl's own key, beside which its plugin takes a section of ours.
        document.pop("plugins", None)
    keys = set(document) if isinstance(document, dict) else set()
    run, study = set(Run.model_fields), set(Study.model_fields)
    if {"title", "columns"} <= keys:
        try:
            BenchmarkFile.model_validate(document)
        except ValueError as error:
            return [f"{block.place}: {error}"]
        return []
    if keys and keys <= run and "objectives" not in keys:
        refused = _refused({**_RUN, **document}, [], load_run)
    elif keys and keys <= study:
        refused = _refused({**_STUDY, **document}, [], load_study)
    else:
        refused = [
            f"neither a run, a study nor a benchmark file, nor a part of one: {sorted(keys)}"
        ]
    return [f"{block.place}: {each}" for each in refused]


def _refused(document: dict[str, Any], overrides: list[str], load: Any) -> list[str]:
    """What the real reader says against a file."""
    from trl.trainer.sft_config import SFTConfig

    from otr.training.options import built

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        with path.open("w", encoding="utf-8") as out:
            YAML(typ="safe", pure=True).dump(document, out)
        try:
            loaded = load(path, overrides)
            if isinstance(loaded, Run):
                objective_from_options(loaded.objective)
            training = loaded.training if isinstance(loaded, Run) else loaded.base.get("training")
            # Whether this machine has the hardware for it is not what is asked.
            asked = {**(training or {}), "use_cpu": True, "bf16": False, "fp16": False}
            built(SFTConfig, "training", asked, output_dir=folder)
        except (UserError, ValueError) as error:
            return [str(error).replace(f"{path}", "file")]
    return []
