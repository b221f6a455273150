"""What the report reads: study folders and run folders, plain files all of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otr import runs
from otr.errors import UserError, file_suggestion
from otr.report.tracked import has_events, tracked_metrics

_LONGEST_ERROR = 300


@dataclass(frozen=True, kw_only=True)
class Group:
    """A study with its kept runs, or runs that belong to none."""

    title: str

    results: dict[str, Any] | None
    """results.json; None for runs without a study."""

    run_folders: dict[str, list[Path]]
    """By method or, without a study, by folder: the runs to show."""

    tokens: dict[str, Any] | None = None
    """tokens.json, where there is one."""

    folder: Path | None = None
    """The study's."""


def read_groups(folders: list[Path]) -> list[Group]:
    """The studies, one a group, and then all single runs in one.

    Raises: UserError if a folder is neither, or a file in it is broken.
    """
    groups, single = [], {}
    for folder in folders:
        runs.refuse_links(folder)
        if (folder / runs.RESULTS).is_file():
            groups.append(_study(folder))
        elif any((folder / name).is_file() for name in (runs.CONFIG, runs.SCORES)) or has_events(
            folder
        ):
            # Folders of one name in different places, such as a tracker's, are told apart.
            single[folder.name if folder.name not in single else str(folder)] = [folder]
        elif (folder / runs.STUDY).is_file():
            groups.append(_unfinished(folder))
        elif not folder.exists():
            raise UserError(f"{folder}: no such folder{file_suggestion(folder)}")
        else:
            raise UserError(
                f"{folder}: neither a run folder (with {runs.CONFIG}), nor one of scores (with "
                f"{runs.SCORES}), nor a study folder (with {runs.RESULTS}), nor one with TensorBoard's "
                "event files"
            )
    if single:
        groups.append(Group(title="runs", results=None, run_folders=single))
    return groups


def _unfinished(folder: Path) -> Group:
    """The runs of a study that has not been compared yet.

    Raises: UserError if none has begun to train.
    """
    begun = {
        path.parent.name: [path.parent]
        for path in sorted(folder.glob(f"*/{runs.METRICS}"))
        if (path.parent / runs.CONFIG).is_file()
    }
    if not begun:
        raise UserError(
            f"{folder}: no run of this study has trained yet; `otr compare` with its file goes on"
        )
    for (run,) in begun.values():
        runs.refuse_links(run)
    title = f"{folder.resolve().name}, not finished: no verdict yet"
    return Group(title=title, results=None, run_folders=begun, folder=folder)


def _study(folder: Path) -> Group:
    results = runs.read_as(folder / runs.RESULTS, dict[str, Any])
    try:
        kept = {
            method["label"]: [folder / run for run in method["runs"]]
            for method in results["methods"]
        }
        title = str(results["title"])
        _require_inside(folder, [run for method in kept.values() for run in method])
    except UserError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / runs.RESULTS}: not a study's results, {str(error)[:_LONGEST_ERROR]} is "
            "missing; otr compare writes it anew"
        ) from None
    tokens = folder / runs.TOKENS
    return Group(
        title=title,
        results=results,
        run_folders=kept,
        tokens=runs.read_as(tokens, dict[str, Any]) if tokens.is_file() else None,
        folder=folder,
    )


def _require_inside(folder: Path, kept: list[Path]) -> None:
    """A study's runs lie in its own folder; a changed results.json could name any other's."""
    for run in kept:
        if run.parent != folder or run.name in ("", ".", ".."):
            raise UserError(f"{folder / runs.RESULTS}: {str(run)!r} is not a run of this study")
        runs.refuse_links(run)


def optional_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is no such file."""
    return runs.read_as(path, dict[str, Any]) if path.is_file() else {}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The training rows of a run's metrics; none where there are none."""
    path = folder / runs.METRICS
    if not path.is_file():
        return tracked_metrics(folder) if has_events(folder) else []
    return [row for row in runs.read_jsonl(path) if "loss" in row and type(row.get("step")) is int]


def objective_name(folder: Path) -> str:
    """The name of the objective that a run was trained with; the folder's where it does not say."""
    path = folder / runs.CONFIG
    objective = runs.read_yaml(path).get("objective") if path.is_file() else None
    return str(objective.get("name")) if isinstance(objective, dict) else folder.name


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """A nested configuration as dotted names and texts, without what is not set."""
    if value in (None, [], {}):
        return {}
    if isinstance(value, list) and not any(isinstance(each, dict | list) for each in value):
        return {name: ", ".join(map(str, value))}
    if isinstance(value, dict):
        items: dict[str, str] = {}
        for key, inner in value.items():
            items |= flattened(inner, f"{name}.{key}" if name else str(key))
        return items
    return {name: value if isinstance(value, str) else json.dumps(value, default=str)}
