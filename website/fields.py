"""The page of files: options of run, study and benchmark files, from the models that check them."""

import dataclasses
from functools import cache
from typing import Any

import griffe
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from otr.evaluation import benchmark_file
from otr.objectives import ALL, Anchor
from otr.study import file as study_file
from otr.training import config
from website import ROOT
from website.commands import cell, code

_SECTIONS = (
    ("Run file", config.Run, "What `otr train` and `otr check` read; `base` of a study file."),
    ("data", config.Data, None),
    ("samples", config.Samples, None),
)
_STUDY = (
    ("Study file", study_file.Study, "What `otr compare` reads."),
    ("validation", study_file.Validation, None),
    ("benchmarks", study_file.Benchmarks, None),
)
_BENCHMARK = (
    ("Benchmark file", benchmark_file.BenchmarkFile, "A benchmark of your own, for `--benchmark FILE.yaml`."),
    ("data", benchmark_file.Data, None),
    ("prompt", benchmark_file.Prompt, None),
    ("answer", benchmark_file.Answer, None),
    ("sampling", benchmark_file.Sampling, None),
)  # fmt: skip


def run_file_page() -> str:
    """All options of all files, with their defaults and what the code says of them."""
    parts = [
        "# Run, study and benchmark files\n",
        "This page is made from the models that check these files. A key that is not known is "
        "refused, with the nearest right one. Any value can be set on the command line: "
        "`training.learning_rate=2e-5`.\n",
    ]
    for number, (title, kind, about) in enumerate(_SECTIONS + _STUDY + _BENCHMARK):
        top = about is not None
        parts.append(f"{'##' if top else '###'} {title if top else f'`{title}`'}\n")
        parts.append(f"{about or kind.__doc__}\n")
        parts.append(_pydantic_table(kind))
        if number == len(_SECTIONS) - 1:
            parts.append(_objectives())
    return "\n".join(parts)


def _objectives() -> str:
    parts = [
        "### `objective`\n",
        "`name`, and the options of that objective. [Objectives](objectives.md) says which is "
        "when of use.\n",
    ]
    for kind in ALL:
        about = (kind.__doc__ or "").partition("\n")[0]
        parts.append(f"#### `{kind.name}`\n\n{cell(about)}\n")
        parts.append(_dataclass_table(kind))
    parts.append("#### `anchor` of any objective\n")
    parts.append(_dataclass_table(Anchor))
    return "\n".join(parts)


def _pydantic_table(kind: type[BaseModel]) -> str:
    words, rows = _documented(kind), []
    for name, field in kind.model_fields.items():
        if field.is_required():
            default = "required"
        else:
            value = field.get_default(call_default_factory=True)
            assert value is not PydanticUndefined
            default = "see below" if isinstance(value, BaseModel) else _value(value)
        rows.append((name, _kind(kind, name), default, words.get(name, "")))
    return _table(rows)


def _dataclass_table(kind: type) -> str:
    words = _documented(kind)
    return _table(
        [
            (field.name, _kind(kind, field.name), _value(field.default), words.get(field.name, ""))
            for field in dataclasses.fields(kind)
        ]
    )


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = ["| option | value | unless given | meaning |", "|---|---|---|---|"]
    for name, kind, default, meaning in rows:
        lines.append(f"| `{name}` | {code(kind)} | {cell(default)} | {cell(meaning)} |")
    return "\n".join(lines) + "\n"


@cache
def _source(module: str) -> griffe.Module:
    path = ROOT / "src" / f"{module.replace('.', '/')}.py"
    return griffe.visit(module, path, path.read_text(encoding="utf-8"))


@cache
def _attributes(kind: type) -> dict[str, Any]:
    """The class's attributes and those of its bases as the source has them, its own first."""
    found: dict[str, Any] = {}
    for each in kind.__mro__:
        if each.__module__.startswith("otr."):
            for name, attribute in _source(each.__module__)[each.__name__].attributes.items():
                found.setdefault(name, attribute)
    return found


def _documented(kind: type) -> dict[str, str]:
    attributes = _attributes(kind)
    return {name: each.docstring.value for name, each in attributes.items() if each.docstring}


def _kind(kind: type, name: str) -> str:
    return str(_attributes(kind)[name].annotation).replace("'", "").replace(" | None", "")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{value}`" if isinstance(value, str) and value.strip() else f"`{value!r}`"
