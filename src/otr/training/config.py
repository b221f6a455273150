"""The run file: one YAML document, with dotted overrides from the command line."""

import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from otr.errors import UserError, problem_words, suggestion
from otr.redaction import without_secrets
from otr.runs import read_yaml
from otr.training.options import ELSEWHERE, USUAL
from otr.training.overrides import Override, overriding, read_override

Kind = TypeVar("Kind", bound="Section")

Location = Annotated[str, AfterValidator(os.path.expanduser)]
"""A file, folder or hub id; `~` stands for the home folder."""

_LOCATIONS = ("chat_template_path", "deepspeed", "fsdp_config")
"""Fields of SFTConfig that may name a file."""


class Section(BaseModel):
    """A part of the run file: frozen, and no key is taken that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Data(Section):
    """Where the training rows come from, and which of their columns are what."""

    train: Location
    """A .jsonl, .json, .parquet or .csv file, a folder of them, or a hub id."""

    validation: Location | None = None
    """The same for the evaluation loss; none unless given."""

    split: str = "train"
    """The split to read from a hub id."""

    configuration: str | None = None
    """The subset to read from a hub id that has several."""

    revision: str | None = None
    """The version to read from a hub id, a commit; the newest unless given."""

    prompt: str | list[str] | None = None
    """Column of the prompt; several are joined by a blank line, empty ones left out."""

    completion: str | None = None
    """Column of the completion, the supervised part; the end token is added to it."""

    separator: str = "\n"
    """Text between prompt and completion; blanks at its end count as the completion's."""

    messages: str | None = None
    """Column of a conversation, rendered with the model's chat template."""

    text: str | None = None
    """Column of plain text, all of it supervised."""

    tools: str = "tools"
    """Column of the tool definitions of a conversation, where the data has one."""

    chat_template_kwargs: dict[str, Any] = {}
    """Variables of the chat template, such as `enable_thinking: false`; a row's own, in a column
    `chat_template_kwargs`, come before them."""

    supervise: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation are learned, where the data does not say."""

    ignore: list[str] = []
    """Columns, and keys of turns, that are left unread although they look like marks of what is not
    to be learned."""

    overlong: Literal["error", "drop", "truncate"] = "error"
    """What to do with rows longer than `training.max_length` tokens."""

    limit: int | None = Field(default=None, ge=1)
    """Use only the first rows."""

    @property
    def place(self) -> dict[str, Any]:
        """Which rows of a hub id are meant, as keywords of `otr.rows`."""
        return {
            "split": self.split,
            "configuration": self.configuration,
            "revision": self.revision,
        }


class Loss(Section):
    """How the tokens' losses are averaged."""

    normalization: Literal["token", "sequence"] = "token"
    """`token`: the mean over all supervised tokens of an optimizer step; `sequence`: over each
    sequence's supervised tokens first, then over the sequences of the step. Packed documents are
    sequences of their own."""


class Samples(Section):
    """Generations of fixed prompts during training, shown and kept in samples.jsonl."""

    every_steps: int = Field(default=50, ge=0)
    """Steps between generations; 0 for none."""

    prompts: list[str] = []
    """Prompts as the model sees them; the first two of the data unless given."""

    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer, in tokens."""


class EarlyStopping(Section):
    """When to end a training before its last step."""

    column: str
    """A logged column: `eval_nll`, `eval_hit_rate`, `nll`, …"""

    patience: int = Field(default=3, ge=1)
    """Stop after so many log lines in a row without an improvement."""

    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """An improvement is more than this."""

    better: Literal["lower", "higher"] | None = None
    """Unless given, higher for accuracies, rates, rewards and weights, lower for all else."""


class Run(Section):
    """One run: model, data, objective, training."""

    model: Location
    """A hub id, a folder, or `demo` for the embedded base model."""

    data: Data
    """Training data."""

    objective: dict[str, Any] = {"name": "otr"}
    """`name`, `otr` unless given, and the options of that objective."""

    loss: Loss = Loss()
    """How the tokens' losses are averaged."""

    training: dict[str, Any] = {}
    """Any field of TRL's SFTConfig."""

    max_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Stop after so many seconds of training, the schedules stretched over them; then
    `training.max_steps`, if given, only bounds the number of steps."""

    max_skipped_steps: int = Field(default=3, ge=1)
    """A step whose loss or gradient is not finite is not applied, and its batch is kept in
    `skipped/`; so many in a row end the run."""

    early_stopping: EarlyStopping | None = None
    """End the training when a logged column no longer improves; never unless given."""

    lora: dict[str, Any] | None = None
    """Any field of peft's LoraConfig; full fine-tuning unless given."""

    compaction: float | Literal["off"] | None = None
    """Bound on the relative error of the head's gradient from tokens and words that hardly matter
    and are left out; `off` leaves out none; unless given, 2**-9 where hidden states or head have
    16 bits, else none."""

    samples: Samples = Samples()
    """Generations during training."""

    output_dir: Location
    """The run folder."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the data order, the adapters and the rollouts."""

    @field_validator("compaction", mode="before")
    @classmethod
    def _is_a_bound(cls, value: Any) -> Any:
        # YAML 1.1 readers of a resolved file take `off` for false.
        value = "off" if value is False else value
        is_bound = (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 0.5
        )
        if value is not None and value != "off" and not is_bound:
            raise ValueError(f"must be `off` or a bound between 0 and 0.5, found {value!r}")
        return value

    @field_validator("objective", mode="before")
    @classmethod
    def _is_a_section(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(
                f"must be a section, as `objective: {{name: {value}}}` in the file or "
                f"objective.name={value} after it"
            )
        if isinstance(value, dict) and "name" not in value:
            return {"name": "otr", **value}
        return value

    @field_validator("training")
    @classmethod
    def _has_whole_paths(cls, value: dict[str, Any]) -> dict[str, Any]:
        whole = {
            name: os.path.expanduser(value[name])
            for name in _LOCATIONS
            if isinstance(value.get(name), str)
        }
        return {**value, **whole}

    @field_validator("model", "output_dir")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return value


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> Run:
    """A run file with its overrides applied, checked.

    Raises: UserError that names file, line and key, with the nearest right one.
    """
    document = read_yaml(Path(path))
    if "model" not in document and {"base", "objectives"} <= document.keys():
        raise UserError(f"{path}: is a study file; `otr compare {shlex.quote(str(path))}` runs it")
    read = [read_override(override) for override in overrides]
    for override in read:
        override.apply(document)
    return checked(Run, document, str(path), read)


def checked(
    kind: type[Kind],
    document: dict[str, Any],
    source: str,
    overrides: Sequence[Override] = (),
) -> Kind:
    """A document as a section of the given kind; `overrides` have been applied to it.

    Raises: UserError that names the key, where it stands, what was found and the way out.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = [
            _explained(kind, document, source, overrides, problem) for problem in error.errors()
        ]
        shown = problems[:5] + [f"… and {len(problems) - 5} more"] * (len(problems) > 5)
        raise UserError("\n".join(shown)) from None


def written(section: Section) -> dict[str, Any]:
    """The section as plain values, every option spelled out but those that hold a secret."""
    return without_secrets(section.model_dump(mode="json"))


def to_yaml(section: Section) -> str:
    """What `written` gives as a YAML document."""
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(written(section), out)
    return out.getvalue()


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """A line for each value that differs between two documents, its dotted key first."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path}: was {old!r}, now {new!r}"]


def _explained(
    kind: type[BaseModel],
    document: dict[str, Any],
    source: str,
    overrides: Sequence[Override],
    problem: Any,
) -> str:
    path = [str(part) for part in problem["loc"]]
    names = [part for part in path if not part.isdigit() and part.isidentifier()]
    where = place(document, source, overrides, names)
    if problem["type"] == "extra_forbidden":
        key = path[-1]
        known = _fields(kind, [name for name in names if name != key])
        shown = "" if key in names else f"{_short(key)}: "
        found = _deeper(key) if kind is Run and names == [key] else ""
        found = found or suggestion(key, known)
        return f"{where}: {shown}no such key{found} (there are {', '.join(known)})"
    if problem["type"] == "missing":
        return f"{where}: is missing; add it"
    found = problem["input"]
    if problem["type"] == "list_type" and overriding(overrides, names):
        return f"{where}: must be a list, as in {'.'.join(names)}='[{found}]'"
    if problem["type"] == "value_error" and isinstance(found, dict | list):
        return f"{where}: {problem_words(problem)}"
    words = problem_words(problem)
    return f"{where}: {words}" + ("" if ", found " in words else f", found {_short(found)}")


def _deeper(key: str) -> str:
    """The suggestion for a key at the top of a run file that belongs to one of its sections."""
    from otr.objectives import option_names

    for section, known in (
        ("data", Data.model_fields),
        ("training", {*USUAL, *ELSEWHERE}),
        ("objective", option_names()),
        ("samples", Samples.model_fields),
    ):
        if key in known:
            return f"; did you mean '{section}.{ELSEWHERE.get(key, key)}'?"
    return ""


def place(document: Any, source: str, overrides: Sequence[Override], names: Sequence[str]) -> str:
    """Where a value stands that nested keys lead to: the override that it came from, or its file and
    line; with its dotted key."""
    key, line = ".".join(names), _line(document, names)
    override = overriding(overrides, names)
    if override is None and names and not line:
        # A section that the file does not have.
        override = next((o for o in overrides if o.keys[: len(names)] == tuple(names)), None)
    if override is None:
        return f"{source}{line}: {key}"
    return override.place if tuple(names) == override.keys else f"{override.place}: {key}"


def _line(document: Any, names: Sequence[str]) -> str:
    """`, line N` of the deepest of the nested keys that the file has."""
    line = ""
    for name in names:
        if not isinstance(document, CommentedMap) or name not in document:
            break
        if name in document.lc.data:
            line = f", line {document.lc.key(name)[0] + 1}"
        document = document[name]
    return line


def _fields(kind: type[BaseModel], sections: list[str]) -> list[str]:
    for section in sections:
        annotation = kind.model_fields[section].annotation
        found = [
            inner
            # An optional section is a union with None.
            for inner in (annotation, *get_args(annotation))
            if isinstance(inner, type) and issubclass(inner, BaseModel)
        ]
        if not found:
            return []
        kind = found[0]
    return list(kind.model_fields)


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
