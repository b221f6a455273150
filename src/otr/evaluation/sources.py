"""What a benchmark's name on the command line stands for."""

from dataclasses import dataclass
from pathlib import Path

from otr.errors import UserError
from otr.evaluation.benchmark_file import (
    BenchmarkFile,
    benchmark_file,
    catalogue,
    read_benchmark_file,
)

DEMO = "demo"

_OWN = (".yaml", ".yml")
"""How the name of a user's own benchmark file ends."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A benchmark by name, and where its data lie."""

    name: str
    """The key in scores.json."""

    file: BenchmarkFile | None
    """Its description; None for the embedded tasks."""

    path: Path | None = None
    """The file or folder with its questions; None: on the hub, or embedded."""

    @property
    def rule(self) -> str:
        """How its answers are found and compared."""
        return "symbols" if self.file is None else self.file.answer.rule


def scored_name(benchmark: str) -> str:
    """The key in scores.json of a benchmark named as on the command line; reads no file."""
    family = benchmark.partition("=")[0]
    return Path(family).stem if family.endswith(_OWN) else family


def source_of(name: str) -> Source:
    """What `demo/longer`, `gsm8k`, `gsm8k=path.jsonl`, `gsm8k/validation=path.jsonl`, `own.yaml` or
    `own.yaml=path.jsonl` means.

    Raises: UserError if it is unknown, or the YAML file is not right.
    """
    family, equals, path = name.partition("=")
    if equals and not path:
        raise UserError(f"benchmark: say where {family} lies, as {family}=path/to/test.jsonl")
    data = Path(path).expanduser() if path else None
    if family.endswith(_OWN):
        return _own(Path(family).expanduser(), data)
    stem, slash, part = family.partition("/")
    if stem == DEMO:
        if data is not None:
            raise UserError(f"benchmark: {DEMO} is embedded and is not read from a file")
        return Source(name=family, file=None)
    known = benchmark_file(stem)
    if slash and (data is None or not _is_plain(part)):
        raise UserError(
            f"benchmark: {family!r} has no parts of its own; name {stem!r}, or {stem}/validation=FILE "
            "for questions of yours, in letters, digits, - and _"
        )
    return Source(name=family, file=known, path=data)


def _own(path: Path, data: Path | None) -> Source:
    name = scored_name(str(path))
    if name == DEMO or name in catalogue():
        raise UserError(f"{path}: {name!r} is a benchmark of our own; give the file another name")
    if not _is_plain(name):
        raise UserError(f"{path}: its name is the benchmark's; use letters, digits, - and _")
    described = read_benchmark_file(path)
    if data is None and described.data.file is not None:
        data = path.parent / Path(described.data.file).expanduser()
    return Source(name=name, file=described, path=data)


def _is_plain(name: str) -> bool:
    """Whether a name is letters, digits, - and _."""
    return name.replace("_", "").replace("-", "").isalnum()
