"""The folder of a program, from outside: what it holds is counted, and removed in any shape."""

import os
from pathlib import Path

import pytest

from otr.evaluation.jail import rights
from otr.evaluation.jail.scratch import holds_too_much, remove


def test_a_folder_of_any_shape_is_removed_and_no_link_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    kept.chmod(0o755)
    folder = tmp_path / "folder"
    for inner in ("a/b/c", "a/b/d", "e", "a/e"):
        (folder / inner).mkdir(parents=True)
        (folder / inner / "file").write_text("x")
        (folder / inner / "to-a-folder").symlink_to(kept)
        (folder / inner / "to-a-file").symlink_to(kept / "file")
        (folder / inner / "nowhere").symlink_to("nowhere")
        os.mkfifo(folder / inner / "pipe")
    for inner in ("a/b/c", "a/b", "e", "."):
        (folder / inner).chmod(0)
    remove(str(folder))
    assert not folder.exists()
    assert [path.name for path in kept.iterdir()] == ["file"]
    assert ((kept / "file").read_text(), kept.stat().st_mode & 0o777) == ("kept", 0o755)


def test_a_folder_deeper_than_python_recurses_and_paths_reach_is_removed(tmp_path: Path) -> None:
    name = "d" * 200
    top = os.open(tmp_path, os.O_RDONLY)
    before = os.open(".", os.O_RDONLY)
    try:
        os.fchdir(top)
        for _ in range(60):
            os.mkdir(name)
            os.chdir(name)
    finally:
        os.fchdir(before)
        os.close(before)
        os.close(top)
    assert holds_too_much(str(tmp_path / name), 64, 1000), "it cannot be counted"
    remove(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    (kept / "file").write_text("kept")
    (tmp_path / "folder").symlink_to(kept)
    with pytest.raises(OSError):
        remove(str(tmp_path / "folder"))
    assert (kept / "file").read_text() == "kept"


def test_files_and_bytes_are_counted_over_all_folders(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for number in range(4):
        (tmp_path / "inner" / str(number)).write_bytes(bytes(1 << 20))
    os.truncate(tmp_path / "inner" / "0", 1 << 40)
    assert not holds_too_much(str(tmp_path), 5, 5), "a hole takes no room"
    assert holds_too_much(str(tmp_path), 3, 5)
    assert holds_too_much(str(tmp_path), 5, 4)
    (tmp_path / "link").symlink_to("/usr")
    assert not holds_too_much(str(tmp_path), 5, 6)
    assert not holds_too_much(str(tmp_path / "gone"), 5, 5)


def test_a_program_s_user_is_one_that_the_container_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, first, last in (
        (1 << 32, 0x70000000, 0x70400000),
        (65536, 61184, 65519),
        (1000, rights.NOBODY, rights.NOBODY),
    ):
        monkeypatch.setattr(rights, "_is_mapped", lambda number, limit=limit: number < limit)
        assert first <= rights.unused_user() <= last
