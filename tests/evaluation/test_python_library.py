"""The library that programs read: shown where it lies, or copied where its folder is closed."""

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from otr.errors import UserError
from otr.evaluation import python_library
from otr.evaluation.python_library import (
    copied_library,
    copy_tree,
    is_open_to_all,
    temporary_folder,
)
from otr.evaluation.sandbox import protections, run_python
from tests.evaluation.left_behind import SOURCE, wait_until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="a user without rights reads its own")


def test_a_path_is_open_only_if_every_folder_above_it_is(tmp_path: Path) -> None:
    outer = Path("/tmp") / f"otr-open-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    try:
        for outer_mode, inner_mode, is_open in (
            (0o755, 0o755, True),
            (0o711, 0o755, True),
            (0o755, 0o711, False),
            (0o700, 0o755, False),
        ):
            inner.chmod(inner_mode)
            outer.chmod(outer_mode)
            assert is_open_to_all(str(inner)) == is_open, (oct(outer_mode), oct(inner_mode))
    finally:
        outer.chmod(0o700)
        inner.rmdir()
        outer.rmdir()
    assert not is_open_to_all(str(inner))


def test_a_copy_is_whole_readable_and_without_what_lies_behind_links(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "part" / "__pycache__").mkdir(parents=True)
    (source / "test").mkdir()
    (tmp_path / "secret").write_text("TOP-SECRET")
    tag = sys.implementation.cache_tag
    written = {
        "part/module.py": "x = 1\n",
        f"part/__pycache__/module.{tag}.pyc": "compiled",
        f"part/__pycache__/module.{tag}.opt-2.pyc": "compiled otherwise",
        "test/long.py": "y = 2\n",
    }
    for name, text in written.items():
        (source / name).write_text(text)
        (source / name).chmod(0o600)
    os.utime(source / "part" / "module.py", ns=(10**18, 10**18 + 5))
    (source / "inside.py").symlink_to(source / "part" / "module.py")
    (source / "outside.py").symlink_to(tmp_path / "secret")
    (source / "dangling.py").symlink_to(tmp_path / "nowhere")

    copy_tree(source, tmp_path / "copy")

    found = {p for p in (tmp_path / "copy").rglob("*") if not p.is_dir()}
    names = {"part/module.py", f"part/__pycache__/module.{tag}.pyc", "inside.py"}
    assert {str(path.relative_to(tmp_path / "copy")) for path in found} == names
    assert {(path.lstat().st_mode & 0o777, path.is_symlink()) for path in found} == {(0o644, False)}
    module = tmp_path / "copy" / "part" / "module.py"
    assert (module.read_text(), module.stat().st_mtime_ns) == ("x = 1\n", 10**18 + 5)


@root_only
def test_programs_run_from_the_copy_where_python_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(python_library, "is_closed", lambda: True)
    guards = protections.__wrapped__(namespaces=False)
    copied = copied_library()
    text = (
        "import json, os, sys, email.message, numpy\n"
        "print(os.__file__, json.__file__, email.message.__file__, sep='\\n')\n"
        "assert numpy.ones(3).sum() == 3\n"
        f"open('{copied.home}/new', 'w')"
    )
    outcome = run_python(text, guards=guards)
    assert copied.home is not None and copied.copied_mb > 5
    library = Path(copied.home, "lib", Path(sysconfig.get_path("stdlib")).name)
    names = ("os.py", "json/__init__.py", "email/message.py")
    assert outcome.stdout.split() == [str(library / name) for name in names]
    assert (outcome.reason, outcome.detail.split(":")[0]) == ("raised", "PermissionError")


@root_only
def test_where_no_copy_can_be_made_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(python_library, "copy_tree", fail)
    monkeypatch.setattr(python_library, "temporary_folder", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"user without rights cannot read it.*No space left"):
        copied_library.__wrapped__()
    assert list(tmp_path.iterdir()) == []


@root_only
def test_a_closed_temporary_folder_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert temporary_folder.__wrapped__() in ("/tmp", "/var/tmp", "/dev/shm")


@pytest.mark.parametrize(
    "ending", ["pass", "sys.exit(1)", f"os.kill(os.getpid(), {signal.SIGKILL})"]
)
def test_a_folder_is_removed_however_its_process_ends(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    code = (
        "import os, sys\nfrom otr.evaluation.python_library import remove_in_the_end\n"
        f"remove_in_the_end({str(folder)!r})\nassert os.path.isdir({str(folder)!r})\n{ending}"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code], env=environment)
    wait_until(lambda: not folder.exists())
