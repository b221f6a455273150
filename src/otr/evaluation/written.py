"""scores.json and answers.jsonl: what stands there of a model, and what is added."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from otr.errors import UserError
from otr.evaluation.benchmarks import VALIDATION
from otr.evaluation.scores import scores_of
from otr.evaluation.sources import DEMO
from otr.runs import (
    ANSWERS,
    CONFIG,
    SCORES,
    read_json,
    read_jsonl,
    refuse_links,
    write_json,
    write_jsonl,
)

Row = dict[str, Any]
Scores = dict[str, dict[str, Any]]

SETTINGS = "settings_sha256"
"""The field of a score that tells what its answers depend on."""


def scores_folder(model_or_run: str, output: Path | None) -> Path | None:
    """Where the scores of a model go: the folder that was asked for, else the run's own; None where
    the model is no run."""
    run = Path(model_or_run)
    return output or (run if (run / CONFIG).is_file() else None)


def require_writable(folder: Path | None) -> None:
    """Try, before anything is answered, whether scores can be written to a folder; where there is none
    yet, whether the one above it can hold it.

    Raises: UserError if not.
    """
    if folder is None:
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            f"--output: {folder} cannot be written: {error.strerror}; give another folder"
        ) from None


class Written:
    """The scores and answers in a folder, as far as they are of this model.

    Scores of another model, or of other weights under the same name, do not count and are replaced.
    """

    def __init__(self, folder: Path | None, model: str, digest: str) -> None:
        self.folder = folder
        self.scores: Scores = {}
        if folder is not None:
            refuse_links(folder)
        if folder is not None and (folder / SCORES).is_file():
            self.scores = {
                name: entry
                for name, entry in read_json(folder / SCORES).items()
                if entry.get("model") == model and entry.get("model_sha256", digest) == digest
            }

    def finished(self, settings: dict[str, str]) -> dict[str, list[Row]]:
        """By benchmark, the answers of those that were scored under these very settings."""
        names = [name for name in settings if self.has_score(name, settings[name])]
        rows = self._answers(names)
        return {
            name: rows[name]
            for name in names
            if len({row["id"] for row in rows[name]}) == self.scores[name]["n"]
        }

    def add(self, scores: Scores, rows: Sequence[Row]) -> None:
        """Write both files, each whole, keeping what is there of other benchmarks."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: entry for name, entry in self.scores.items() if name not in scores}
        old_rows = self._answers(list(kept))
        write_jsonl(
            self.folder / ANSWERS, [row for name in kept for row in old_rows[name]] + list(rows)
        )
        self.scores = kept | scores
        write_json(self.folder / SCORES, self.scores)

    def has_score(self, name: str, settings: str) -> bool:
        """Whether there is a score of these very settings, with or without answers."""
        return self.scores.get(name, {}).get(SETTINGS) == settings

    def _answers(self, names: Sequence[str]) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {name: [] for name in names}
        if names and self.folder is not None and (self.folder / ANSWERS).is_file():
            for row in read_jsonl(self.folder / ANSWERS):
                if row.get("benchmark") in rows:
                    rows[row["benchmark"]].append(row)
        return rows


def scored(rows: Iterable[Row], names: Sequence[str], settings: dict[str, Row]) -> Scores:
    """The entries of scores.json for all benchmarks in `settings`, each with its settings.

    `demo`, where it is among the `names` that were asked for, is over all its parts but validation.
    """
    by_benchmark: dict[str, list[Row]] = {name: [] for name in settings}
    for row in rows:
        by_benchmark[row["benchmark"]].append(row)
    entries: Scores = {}
    if DEMO in names:
        parts = [name for name in settings if name.startswith(f"{DEMO}/") and name != VALIDATION]
        together = [row for name in parts for row in by_benchmark[name]]
        shared = {key: value for key, value in settings[parts[0]].items() if key != SETTINGS}
        entries[DEMO] = scores_of(together) | shared
    for name, part in by_benchmark.items():
        entries[name] = scores_of(part) | settings[name]
    return entries
