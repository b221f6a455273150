"""Rows of data from files, folders and the hub, and where each of them came from."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from otr.arrow_values import features_of, row_values
from otr.errors import UserError, file_suggestion, first_line, suggestion
from otr.runs import read_as

# A csv field longer than 128 KiB is refused unless the module is told otherwise.
LONGEST_CSV_FIELD = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its columns, and `origin`, the words that name it in an error."""

    values: dict[str, Any]
    origin: str
    nulls_left_out: frozenset[str] = frozenset()
    """Nested fields whose null was left out, since it may be a missing field's:
    `tools.parameters.default`."""


def read_rows(
    source: str,
    *,
    split: str = "train",
    limit: int | None = None,
    configuration: str | None = None,
    revision: str | None = None,
) -> list[Row]:
    """The rows of a file, of the files of a folder in the order of their names, or of a hub id.

    A .json file may hold an array of objects or one object a line, and so may a .jsonl file.
    All columns of a .csv are text. In .parquet and hub data, fields of nested objects that are
    null are left out: those formats give every object the fields of all others. Of a hub id,
    `configuration` and `revision` choose among its subsets and its versions.

    Raises: UserError with file and line if it is missing, empty or cannot be read.
    """
    rows = iterated_rows(source, split=split, configuration=configuration, revision=revision)
    found = list(islice(rows, limit))
    if not found:
        raise UserError(f"{source}: holds no rows")
    return found


def iterated_rows(
    source: str,
    *,
    split: str = "train",
    configuration: str | None = None,
    revision: str | None = None,
) -> Iterator[Row]:
    """The same rows one after another, for data that need not be held as a whole; maybe none.

    Raises: UserError with file and line if it is missing or cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder_rows(path, split)
    if path.exists() or looks_like_a_path(source):
        return _file_rows(path)
    return hub_rows(source, split, configuration, revision)


def looks_like_a_path(source: str) -> bool:
    """Whether a source that is not there is more likely to be a misspelt file than a hub id."""
    known = Path(source).suffix.lower() in READERS
    return known or re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source) is None


def _file_rows(path: Path) -> Iterator[Row]:
    reader = READERS.get(path.suffix.lower())
    if not path.exists():
        raise UserError(f"{path}: no such file{file_suggestion(path)}")
    if reader is None:
        raise UserError(
            f"{path}: expected {', '.join(READERS)} data, found "
            f"{path.suffix or 'a file without an ending'}; convert or rename it"
        )
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _folder_rows(folder: Path, split: str) -> Iterator[Row]:
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        yield from _saved_rows(folder, split)
        return
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in READERS and path.is_file() and not path.name.startswith(".")
    )
    if not files:
        raise UserError(f"{folder}: the folder has no {', '.join(READERS)} file")
    for path in files:
        yield from _file_rows(path)


def _json_rows(path: Path) -> Iterator[Row]:
    # utf-8-sig also reads files without the byte order mark.
    with open(path, encoding="utf-8-sig") as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        if first.lstrip().startswith("["):
            values = _json_value(file.read(), str(path))
            for number, value in enumerate(values, start=1):
                yield _json_row(value, f"{path}, row {number}")
        else:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    origin = f"{path}, line {number}"
                    yield _json_row(_json_value(line, origin), origin)


def _json_row(value: Any, origin: str) -> Row:
    if not isinstance(value, dict):
        found = type(value).__name__
        raise UserError(f"{origin}: expected an object with named fields, found {found}")
    return Row(value, origin)


def _json_value(text: str, origin: str) -> Any:
    try:
        # NaN is how pandas writes a missing value.
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{origin}: not valid JSON: {error}; expected one object a line, or one array of "
            "objects in the whole file"
        ) from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the field {twice!r} is there twice")
    return values


def _csv_rows(path: Path) -> Iterator[Row]:
    before = csv.field_size_limit(LONGEST_CSV_FIELD)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            twice = [name for name in header if header.count(name) > 1]
            if twice:
                raise UserError(f"{path}: the column {twice[0]!r} is there twice")
            line = reader.line_num + 1
            for fields in reader:
                origin = f"{path}, line {line}"
                line = reader.line_num + 1
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise UserError(
                        f"{origin}: found {len(fields)} fields, the header has {len(header)}; "
                        "put double quotes around fields that hold commas or line breaks"
                    )
                yield Row(dict(zip(header, fields, strict=True)), origin)
    except csv.Error as error:
        raise UserError(f"{path}: not valid csv: {error}") from None
    finally:
        csv.field_size_limit(before)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            values_of = row_values(features_of(file.schema_arrow.metadata), decodes=True)
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    kept, left_out = values_of(values)
                    yield Row(kept, f"{path}, row {number}", left_out)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a readable parquet file: {error}") from None


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
    ".csv": _csv_rows,
}


def _saved_rows(folder: Path, split: str) -> Iterator[Row]:
    import datasets

    _check_saved(folder)
    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as error:
        # datasets and pyarrow each raise their own kinds here.
        raise UserError(f"{folder}: cannot be read as a saved dataset: {error}") from error
    if isinstance(dataset, datasets.DatasetDict):
        splits = [str(name) for name in dataset]
        if split not in splits:
            raise UserError(
                f"{folder}: has no split {split!r}, only {', '.join(splits)}; name one of them"
                f"{suggestion(split, splits)}"
            )
        dataset = dataset[split]
    yield from _dataset_rows(dataset, str(folder))


def _check_saved(folder: Path) -> None:
    """Raise UserError if a saved dataset names files that are not in its folder."""
    parts = [folder]
    if (folder / "dataset_dict.json").is_file():
        parts += [path for path in folder.iterdir() if path.is_dir()]
        splits = read_as(folder / "dataset_dict.json", dict[str, list[str]]).get("splits", [])
        _require_plain(folder / "dataset_dict.json", splits)
    for part in parts:
        if (part / "state.json").is_file():
            files = read_as(part / "state.json", dict[str, Any]).get("_data_files")
            named = files if isinstance(files, list) else []
            names = [each.get("filename") if isinstance(each, dict) else each for each in named]
            _require_plain(part / "state.json", names)


def _require_plain(path: Path, names: list[Any]) -> None:
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"{path}: {name!r} is not a file of its folder")


def hub_rows(
    name: str, split: str, configuration: str | None = None, revision: str | None = None
) -> Iterator[Row]:
    """The rows of a hub dataset.

    Raises: UserError if this machine cannot reach it, or it has no such split.
    """
    import datasets

    chosen = {"name": configuration, "revision": revision}
    options: dict[str, Any] = {k: value for k, value in chosen.items() if value is not None}
    try:
        dataset = datasets.load_dataset(name, split=split, **options)
    except Exception as error:
        # The hub client, datasets and the network each raise their own kinds here.
        raise UserError(
            f"{name}: neither a file, a folder, nor a hub dataset that this machine can reach "
            f"with the split {split!r}: {first_line(error)}{file_suggestion(Path(name))}"
        ) from error
    yield from _dataset_rows(dataset, name)


def _dataset_rows(dataset: Any, name: str) -> Iterator[Row]:
    features = getattr(dataset, "features", None)
    values_of = row_values(features.to_dict() if features else {}, decodes=False)
    for number, values in enumerate(dataset, start=1):
        kept, left_out = values_of(values)
        yield Row(kept, f"{name}, row {number}", left_out)
