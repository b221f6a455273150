"""The sandbox as other users start it: a plain one, and root in a container."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.evaluation import plain_user
from tests.evaluation.hostile import HOSTILE
from tests.evaluation.left_behind import SOURCE, alive, launchers

_CONTAINER_RIGHTS = (
    "+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,"
    "+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap"
)
"""What Docker leaves to root unless it is told otherwise."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("becoming", "namespaces"),
    [
        (["--reuid=12345", "--regid=12345", "--clear-groups"], True),
        (["--reuid=12345", "--regid=12345", "--clear-groups"], False),
        ([f"--bounding-set=-all,{_CONTAINER_RIGHTS}"], False),
    ],
    ids=["a plain user", "a plain user without namespaces", "root in a container"],
)
def test_other_users_are_as_safe(becoming: list[str], namespaces: bool, tmp_path: Path) -> None:
    """From root's rights one can become each of them; a plain user's run tests one above."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("only root can become another user, with util-linux")
    before = launchers()
    is_root = "--clear-groups" not in becoming
    # Root copies a Python that its programs cannot read; a plain user must be shown it.
    showing = ["unshare", "--mount", "sh", "-c", _SHOW_PYTHON, "sh", sys.base_prefix, str(tmp_path)]
    showing = ["setpriv"] if is_root else showing
    # Not below pytest's own folder, which others may not enter: only the sandbox is in the way.
    with tempfile.TemporaryDirectory(prefix="otr-outside-") as outside:
        secret = Path(outside) / "secret"
        secret.write_text("TOP-SECRET")
        if not is_root:
            for path in (outside, secret):
                os.chown(path, 12345, 12345)
        done = subprocess.run(
            [*showing, *becoming, sys.executable, "-m", "tests.evaluation.plain_user"]
            + [outside, str(namespaces)],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": "/tmp"},
            cwd=SOURCE.parent,
            capture_output=True,
            text=True,
        )
        if done.returncode == 77:
            pytest.skip(f"this machine cannot: {done.stdout}")
        stopped = f"{len(HOSTILE)} stopped\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, stopped, "")
        assert [path.name for path in Path(outside).iterdir()] == ["secret"]
        assert secret.read_text() == "TOP-SECRET"
    assert alive(plain_user.MARKER) == []
    assert launchers() <= before


_SHOW_PYTHON = """
set -e
python=$1; spare=$2; shift 2
if ! setpriv --reuid 12345 --clear-groups test -x "$python"; then
    top=/$(echo "$python" | cut -d/ -f2)
    mount --bind "$python" "$spare"
    mount -t tmpfs -o mode=755 none "$top"
    mkdir -p "$python" && mount --move "$spare" "$python"
fi
exec setpriv "$@"
"""
"""In mounts of its own: where Python lies in root's home, show it and nothing else of that home."""
