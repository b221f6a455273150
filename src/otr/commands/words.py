"""The words that a shell offers when it completes a command line of otr.

They are asked for at every press of a key, so nothing heavy is loaded: fields of other libraries'
settings, and of our objectives, are read off their source.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otr.commands.parser import COMMANDS, CommandParser, parser_of
from otr.demo import BASES, tasks

if TYPE_CHECKING:
    from pydantic import BaseModel

_OBJECTIVES = Path(__file__).parents[1] / "objectives"

_TRAINING = (
    ("trl", "trainer/sft_config.py", "SFTConfig"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("transformers", "training_args.py", "TrainingArguments"),
)
_LORA = (("peft", "tuners/lora/config.py", "LoraConfig"),)


def complete() -> None:
    """Answer the shell that asks, and end the process."""
    import argcomplete
    from argcomplete.completers import DirectoriesCompleter, FilesCompleter

    parser, each = parser_of(list(COMMANDS))
    yaml = FilesCompleter(("yaml", "yml"))
    models = _Together(Words(lambda: list(BASES)), DirectoriesCompleter())
    by_name = {
        "recipe": yaml,
        "study": yaml,
        "model": models,
        "folders": DirectoriesCompleter(),
        "data": FilesCompleter(),
        "benchmark": _Together(Words(benchmark_names), yaml),
        "objective": Words(objective_names),
        "prompt": Words(lambda: ["base", "chat"]),
        "engine": Words(lambda: ["transformers", "vllm"]),
    }
    for name, completer in by_name.items():
        for command in each.values():
            _give(command, name, completer)
    for command in ("check", "train"):
        _give(each[command], "overrides", Settings(run_settings))
    _give(each["compare"], "overrides", Settings(study_settings))
    _give(each["inspect"], "overrides", Settings(inspect_settings))
    argcomplete.autocomplete(parser, always_complete_options=False)


def benchmark_names() -> list[str]:
    """Those that need no file of the user's own to be named."""
    catalogue = Path(__file__).parents[1] / "evaluation" / "catalogue"
    demo = ["demo", *(f"demo/{part}" for part in tasks.PARTS)]
    return demo + sorted(path.stem for path in catalogue.glob("*.yaml"))


def objective_names() -> list[str]:
    """The names that a run file may give an objective."""
    return [
        ast.literal_eval(field.value)
        for kind in _objectives()
        for field in _fields(kind)
        if ast.unparse(field.target) == "name" and field.value is not None
    ]


def objective_options() -> list[str]:
    """The options of all objectives."""
    found = [name for kind in _objectives() for name in _names_of(kind)]
    return list(dict.fromkeys(found))


def training_settings() -> list[str]:
    """The fields of TRL's SFTConfig."""
    return _settings_of(_TRAINING)


def run_settings() -> list[str]:
    """The dotted settings of a run file, each with its `=`."""
    from otr.training.config import Run

    return _keys(
        Run,
        {
            "objective": ["name", *objective_options()],
            "training": training_settings(),
            "lora": _settings_of(_LORA),
        },
    )


def study_settings() -> list[str]:
    """The dotted settings of a study file, each with its `=`."""
    from otr.study.file import SET_BY_STUDY, Study

    base = [key.rstrip("=") for key in run_settings()]
    return _keys(Study, {"base": [key for key in base if key.split(".")[0] not in SET_BY_STUDY]})


def inspect_settings() -> list[str]:
    """What follows --set in `otr inspect`."""
    from otr.commands.inspect import READING
    from otr.training.config import Data

    training = [f"training.{name}=" for name in READING]
    options = [f"{name}.{option}=" for name in objective_names() for option in objective_options()]
    return [*_keys(Data, {}, "data."), *training, *options]


class _Together:
    """What several completers offer."""

    def __init__(self, *completers: Any) -> None:
        self._completers = completers

    def __call__(self, **asked: Any) -> list[str]:
        return [word for completer in self._completers for word in completer(**asked)]


class Words:
    """Words that are found when they are asked for."""

    def __init__(self, words: Callable[[], list[str]]) -> None:
        self._words = words

    def __call__(self, *, prefix: str, **_: Any) -> list[str]:
        return [word for word in self._words() if word.startswith(prefix)]


class Settings:
    """Settings by their section: a file has two hundred, of which no one wants to see all."""

    def __init__(self, keys: Callable[[], list[str]]) -> None:
        self._keys = keys

    def __call__(self, *, prefix: str, **_: Any) -> list[str]:
        if prefix.startswith("objective.name="):
            return [f"objective.name={name}" for name in objective_names()]
        found = [key for key in self._keys() if key.startswith(prefix)]
        depth = prefix.count(".") + 1
        sections = {
            ".".join(key.split(".")[:depth]) + "." for key in found if key.count(".") >= depth
        }
        own = [key for key in found if key.count(".") < depth]
        # A section that is alone would be taken for a whole word: its keys come at once.
        return own + sorted(sections) if len(sections) + len(own) > 1 else found


def _give(parser: CommandParser, name: str, completer: Any) -> None:
    """Set the completer of an argument, where the command has it."""
    for action in parser._actions:
        if action.dest == name:
            action.completer = completer  # pyright: ignore[reportAttributeAccessIssue]


def _keys(
    kind: "type[BaseModel]", open_: Mapping[str, Iterable[str]], before: str = ""
) -> list[str]:
    """The keys of a section and of those within it; `open_` has those whose keys another library
    or the objective decides."""
    from pydantic import BaseModel

    found: list[str] = []
    for name, field in kind.model_fields.items():
        if name in open_:
            found += [f"{before}{name}.{key}=" for key in open_[name]]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _keys(field.annotation, {}, f"{before}{name}.")
        else:
            found.append(f"{before}{name}=")
    return found


def _objectives() -> list[ast.ClassDef]:
    """The classes of objectives, and the one that they are made from."""
    return [
        node
        for path in sorted(_OBJECTIVES.glob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and "Objective" in {node.name, *(ast.unparse(base) for base in node.bases)}
    ]


def _settings_of(classes: Iterable[tuple[str, str, str]]) -> list[str]:
    """The fields of classes, each given by its library, its file there and its name."""
    found: list[str] = []
    for library, file, name in classes:
        spec = find_spec(library)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / file
            if not path.is_file():
                continue
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    found += _names_of(node)
    return sorted({field for field in found if not field.startswith("_")})


def _names_of(kind: ast.ClassDef) -> list[str]:
    """The names of a dataclass's fields."""
    return [
        ast.unparse(field.target)
        for field in _fields(kind)
        if not ast.unparse(field.annotation).startswith("ClassVar")
    ]


def _fields(kind: ast.ClassDef) -> list[ast.AnnAssign]:
    return [node for node in kind.body if isinstance(node, ast.AnnAssign)]
