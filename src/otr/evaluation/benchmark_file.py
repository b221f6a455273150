"""The file that describes a benchmark: a catalogue is shipped, and users bring their own."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from otr.errors import UserError, problem_words, suggestion
from otr.evaluation.template import fields_of
from otr.rows import READERS
from otr.runs import read_yaml

Rule = Literal["number", "math", "choice", "bbeh", "text", "code"]

Columns = dict[str, list[str]]
"""Fields and the columns they are read from: the first of each list that the data has."""


class Section(BaseModel):
    """A part of the file: frozen, and no key is taken that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Section):
    """Where the questions lie: on the hub, or in a file. `NAME=path` says otherwise."""

    hub: str | None = None
    """The id of a dataset on the hub."""

    file: str | None = None
    """A .jsonl, .json, .parquet or .csv file, seen from the folder of this file."""

    configuration: str | None = None
    """The subset of the dataset on the hub."""

    split: str = "test"
    revision: str | None = None
    """A commit of the dataset on the hub; the newest unless given."""

    @model_validator(mode="after")
    def _has_one_place(self) -> "Data":
        if (self.hub is None) == (self.file is None):
            raise ValueError("give either hub or file")
        return self


class Message(Section):
    """One message that a chat model sees; its content is a template."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Section):
    """Templates: `{question}` and every other field that the columns name is filled in, `{options}`
    one to a line with its letter, `{name.0}` the first of a list."""

    base: str
    """What a base model goes on writing."""

    chat: list[Message] = []
    """What a chat model answers; the base prompt as one message unless given."""


class Answer(Section):
    """How answers are found in outputs, and when they are right."""

    rule: Rule
    tolerance: float = Field(default=0.0, ge=0, lt=1)
    """Relative error that a decimal number may have (rule math)."""


class Sampling(Section):
    """How its scores are best taken; the command line decides how they are."""

    temperature: float = Field(default=0.0, ge=0)
    samples: int = Field(default=1, ge=1)


class BenchmarkFile(Section):
    """A benchmark's file."""

    title: str
    data: Data
    columns: Columns
    """`question` and `reference`; and, if the data have them, `category`, `id` and `options`."""

    details: Columns = {}
    """What else the rule and the prompt need; every row must have it."""

    optional: Columns = {}
    """The same for what a row may lack: `unit` and `error` (absolute) for rule math."""

    prompt: Prompt
    answer: Answer
    stop: list[str] = []
    """Texts that end a base model's answer."""

    max_new_tokens: int = Field(ge=1)
    sampling: Sampling = Sampling()
    metric: Literal["accuracy"] = "accuracy"
    """The share of right answers; with several samples avg@k and pass@k are given as well."""

    licence: str | None = None
    """Of the data; None: see where they come from."""

    source: str | None = None
    """The publication of the data and the scores."""

    ours: str | None = None
    """What is chosen here and not by its authors."""

    @field_validator("columns", "details", "optional", mode="before")
    @classmethod
    def _as_lists(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: [name] if isinstance(name, str) else name for key, name in value.items()}

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: Columns) -> Columns:
        for name in ("question", "reference"):
            if name not in value:
                raise ValueError(f"say which column holds the {name}")
        known = ("question", "reference", "category", "id", "options")
        for name in value:
            if name not in known:
                raise ValueError(
                    f"{name!r} is not known{suggestion(name, known)}; other columns go to details"
                )
        return value

    @model_validator(mode="after")
    def _templates_can_be_filled(self) -> "BenchmarkFile":
        known = {"question", "options", *self.details, *self.optional} - (
            set() if "options" in self.columns else {"options"}
        )
        for text in (self.prompt.base, *(message.content for message in self.prompt.chat)):
            for name in fields_of(text):
                if name not in known:
                    raise ValueError(
                        f"the prompt asks for {{{name}}}, which no column gives"
                        f"{suggestion(name, known)}; known are {', '.join(sorted(known))}"
                    )
        return self


@lru_cache(maxsize=1)
def catalogue() -> tuple[str, ...]:
    """The names of the benchmarks that are shipped."""
    folder = files("otr.evaluation") / "catalogue"
    return tuple(
        sorted(each.name.removesuffix(".yaml") for each in folder.iterdir()
               if each.name.endswith(".yaml"))
    )  # fmt: skip


@lru_cache(maxsize=64)
def benchmark_file(name: str) -> BenchmarkFile:
    """The file of a benchmark in the catalogue.

    Raises: UserError if there is none of this name.
    """
    if Path(name).suffix in READERS:
        raise UserError(
            f"benchmark: {name} is a file of questions; say whose prompt and answer rule they have, "
            f"as in gsm8k={name}, or give a .yaml file that says both (docs/benchmarks.md)"
        )
    if name not in catalogue():
        raise UserError(
            f"benchmark: {name!r} is not known{suggestion(name, ['demo', *catalogue()])}; known are "
            f"demo, {', '.join(catalogue())}; or give a .yaml file of your own"
        )
    return read_benchmark_file(Path(str(files("otr.evaluation") / "catalogue" / f"{name}.yaml")))


def read_benchmark_file(path: Path) -> BenchmarkFile:
    """A benchmark's file, checked.

    Raises: UserError with file, line and field.
    """
    document = read_yaml(path)
    try:
        return BenchmarkFile.model_validate(document)
    except ValidationError as error:
        # A misspelt field explains the one that is missing.
        problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        where = [str(part) for part in problem["loc"]]
        line = (
            f", line {document.lc.key(where[0])[0] + 1}" if where and where[0] in document else ""
        )
        found = problem_words(problem)
        if problem["type"] == "extra_forbidden":
            known = _fields_at(where[:-1])
            found = f"no such field{suggestion(where[-1], known)} (there are {', '.join(known)})"
            if where == ["name"]:
                found = "no such field; the benchmark is named after its file"
        elif problem["type"] == "missing":
            found = "is missing; add it"
        raise UserError(f"{path}{line}: {'.'.join(where)}{': ' if where else ''}{found}") from None


def _fields_at(where: list[str]) -> list[str]:
    model: type[BaseModel] = BenchmarkFile
    for name in where:
        field = model.model_fields.get(name)
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
