"""Data files that a run folder names, found again from wherever the folder is read."""

from collections.abc import Iterator
from pathlib import Path, PurePath

from otr import runs
from otr.errors import UserError


def recorded_source(folder: Path, source: str, way_out: str) -> str:
    """Where a data source of a run folder's configuration lies now.

    A relative path is looked for in the current folder, in the one that the run was started in, and
    in those that hold the run folder, which may have been moved with its data. The hashes in
    environment.json decide: a file of the same name with other contents is not taken. What has no
    recorded hash, such as a hub id, stays as it is. `way_out` ends the error.

    Raises: UserError if no such file has the recorded contents.
    """
    if not (folder / runs.ENVIRONMENT).is_file():
        return source
    environment = runs.read_as(folder / runs.ENVIRONMENT, runs.Environment)
    path = Path(source).expanduser()
    recorded = {
        file.relative_to(path): digest
        for name, digest in environment["data_sha256"].items()
        if (file := PurePath(name)) == path or path in file.parents
    }
    if not recorded:
        return source
    started_in = environment.get("started_in")
    places = list(dict.fromkeys(root / path for root in _roots(folder, started_in)))
    there = [place for place in places if place.exists()]
    for place in there:
        if _contents(place) == recorded:
            return str(place)
    if there:
        raise UserError(
            f"{there[0]} is not what {folder} was trained on: its contents differ; {way_out}"
        )
    where = f"neither here nor in {started_in}" if started_in else "not here"
    raise UserError(f"{source}, which {folder} was trained on, is {where}; {way_out}")


def _roots(folder: Path, started_in: str | None) -> Iterator[Path]:
    yield Path()
    if started_in is not None:
        yield Path(started_in)
    yield from folder.resolve().parents


def _contents(place: Path) -> dict[PurePath, str]:
    """The hashes of a file, or of all files of a folder, by their path within it."""
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    return {PurePath(file.relative_to(place)): runs.file_sha256(file) for file in files}
