"""Answers of an evaluation that is not finished, on disk as they come.

`answers.partial/` beside answers.jsonl holds a file a benchmark and process. Its first line says
what the answers depend on, each other line is an answer; the last one may be half, if the process
was killed while it wrote. Batch sizes have a file of their own, so that an evaluation that goes on
does so in the same batches.
"""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from otr.errors import UserError
from otr.evaluation.generation import BatchSizes
from otr.evaluation.requests import Generated, Key, Request
from otr.runs import PARTIAL, append_jsonl, write_jsonl

Settings = dict[str, Any]

_ANSWERS, _SIZES = ".jsonl", ".sizes"


class PartialAnswers:
    """The answers there are so far, and where the next ones go.

    `settings` says for each benchmark what its answers depend on. Without a folder, answers are
    only kept in memory.
    Raises: UserError that shows what differs if there are answers that were made otherwise.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Settings], rank: int = 0) -> None:
        self.settings, self.rank = settings, rank
        self.folder = None if folder is None else folder / PARTIAL
        self.answers: dict[Key, Generated] = {}
        for path in [] if self.folder is None else _files(self.folder, settings):
            self._read(path)

    def append(self, request: Request, answer: Generated) -> None:
        """Keep an answer; once this returns, it survives the process."""
        self.answers[request.key] = answer
        if self.folder is None:
            return
        path = self._own(request.benchmark)
        row = {
            "id": request.question,
            "sample": request.sample,
            "output": answer.text,
            "num_tokens": answer.num_tokens,
            "truncated": answer.truncated,
        }
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_jsonl(path, [self.settings[request.benchmark]])
        append_jsonl(path, row)

    def batch_sizes(self, num_processes: int) -> BatchSizes:
        """The sizes that were chosen before by this process, and are kept from now on."""
        if self.folder is None:
            return BatchSizes()
        path = self.folder / f"{self.rank}-of-{num_processes}{_SIZES}"

        def note(plan: str, start: int, size: int) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            append_jsonl(path, {"plan": plan, "start": start, "size": size})

        sizes = BatchSizes(note)
        if path.is_file():
            _cut_half_line(path)
            for _, row in _rows(path):
                sizes.restore(row["plan"], row["start"], row["size"])
        return sizes

    def prepare(self) -> None:
        """Cut what a killed process left half written in the files that this one goes on with."""
        for benchmark in self.settings:
            if self.folder is not None and (path := self._own(benchmark)).is_file():
                _cut_half_line(path)

    def remove(self) -> None:
        """Remove these benchmarks' answers, of all processes."""
        if self.folder is not None:
            remove_partial(self.folder.parent, self.settings)

    def _own(self, benchmark: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{quote(benchmark, safe='')}.{self.rank}{_ANSWERS}"

    def _read(self, path: Path) -> None:
        benchmark = _benchmark(path)
        rows = _rows(path)
        # The first line is written with the file, so it is whole.
        _, before = next(rows, (0, {}))
        differing = _differences(before, self.settings[benchmark])
        if differing:
            raise UserError(
                f"{path.parent} holds answers of {benchmark} that were made otherwise:\n"
                + "\n".join(f"  {line}" for line in differing)
                + "\n--restart begins anew; with the former settings the evaluation goes on"
            )
        for number, row in rows:
            try:
                key = (benchmark, str(row["id"]), int(row["sample"]))
                self.answers[key] = Generated(
                    text=str(row["output"]),
                    num_tokens=int(row["num_tokens"]),
                    truncated=bool(row["truncated"]),
                )
            except (KeyError, TypeError, ValueError):
                raise _damaged(path, number) from None


def remove_partial(folder: Path, benchmarks: Collection[str]) -> None:
    """Remove what there is of some benchmarks, however it was made; and with the last of them the
    folder of partial answers."""
    partial = folder / PARTIAL
    for path in _files(partial, benchmarks):
        path.unlink()
    if partial.is_dir() and all(path.suffix == _SIZES for path in partial.iterdir()):
        for path in partial.iterdir():
            path.unlink()
        partial.rmdir()


def _files(partial: Path, benchmarks: Collection[str]) -> list[Path]:
    """The files of some benchmarks, of all processes."""
    if not partial.is_dir():
        return []
    return [
        path
        for path in sorted(partial.iterdir())
        if path.suffix == _ANSWERS and _benchmark(path) in benchmarks
    ]


def _benchmark(path: Path) -> str:
    return unquote(path.stem.rpartition(".")[0])


def _differences(before: Settings, now: Settings) -> list[str]:
    return [
        f"{name}: {before.get(name)!r}, now {now.get(name)!r}"
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
    ]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and object of each whole line."""
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
        except ValueError:
            raise _damaged(path, number) from None
        if not isinstance(row, dict):
            raise _damaged(path, number)
        yield number, row


def _damaged(path: Path, number: int) -> UserError:
    return UserError(f"{path}, line {number}: is damaged; --restart begins anew")


def _cut_half_line(path: Path) -> None:
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole < path.stat().st_size:
        os.truncate(path, whole)
