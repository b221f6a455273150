"""The Python library that a program in the sandbox reads: this one, or a copy where this is closed.

Root's Python often lies in root's home, which the user without rights that a program runs as may
not enter. Where root may mount, it is shown there all the same; elsewhere a copy is made.
"""

import atexit
import functools
import os
import shutil
import site
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from otr.errors import UserError

SYSTEM_PATHS = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache"]

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "include"} | {
    *("idlelib", "turtledemo", "tkinter", "lib2to3", "ensurepip")
}
_PACKAGES = ("numpy", "numpy.libs")
"""What the tests of code benchmarks import; a whole environment would be gigabytes."""

_CAP_SYS_ADMIN = 21


@dataclass(frozen=True, kw_only=True)
class PythonLibrary:
    """What a program may read, and where Python looks for modules."""

    home: str | None
    """Where a copy of the standard library lies, as PYTHONHOME takes it; None: Python knows."""

    packages: list[str]
    """Folders of installed packages."""

    readable: list[str]
    """All of it with the system's programs and libraries, none below another."""

    copied_mb: float = 0.0


def python_library(*, namespaces: bool) -> PythonLibrary:
    """The library for programs in namespaces or without; a copy where this one cannot be shown.

    The copy is made once a process.
    Raises: UserError if one is needed and cannot be made.
    """
    if os.geteuid() != 0 or not is_closed() or (namespaces and _may_mount()):
        return _own_library()
    return copied_library()


def is_closed() -> bool:
    """Whether users without rights cannot read the standard library."""
    return not is_open_to_all(os.path.join(sysconfig.get_path("stdlib"), "os.py"))


def is_open_to_all(path: str) -> bool:
    """Whether every user may read a path, by the modes of it and of the folders above it."""
    whole = Path(os.path.realpath(path))
    try:
        modes = [each.stat().st_mode for each in (whole, *whole.parents)]
    except OSError:
        return False
    enters = all(mode & stat.S_IXOTH for mode in modes[1:])
    return enters and bool(modes[0] & stat.S_IROTH)


@functools.cache
def temporary_folder() -> str:
    """Where folders for programs are made: a temporary folder that every user may enter.

    Raises: UserError if there is none.
    """
    usual = tempfile.gettempdir()
    if os.geteuid() != 0:
        return usual
    for path in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        # Modules written in C are mapped from there, which some systems forbid.
        if is_open_to_all(path) and not os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0):
            return path
    raise UserError(
        f"--run-code: {usual} is closed to users without rights; set TMPDIR to a folder that all "
        "may enter and run programs from"
    )


@functools.cache
def copied_library() -> PythonLibrary:
    """A copy of the standard library, and of numpy if that is closed too, which all may read.

    It is root's, so that no program can change it, closed until it is whole, and removed when
    this process ends, however it ends. Tests, tkinter and what else no answer needs are left out.
    Raises: UserError if it cannot be made.
    """
    folder = tempfile.mkdtemp(prefix="otr-python-", dir=temporary_folder())
    remove_in_the_end(folder)
    library = Path(sysconfig.get_path("stdlib"))
    place = library.relative_to(sysconfig.get_config_var("installed_base"))
    closed = [path for path in _package_folders() if not is_open_to_all(path)]
    try:
        copy_tree(library, Path(folder, place))
        for path, name in ((path, name) for path in closed for name in _PACKAGES):
            if os.path.isdir(os.path.join(path, name)):
                copy_tree(Path(path, name), Path(folder, "packages", name))
        num_bytes = 0
        for parent, _, names in os.walk(folder):
            os.chmod(parent, 0o755)
            num_bytes += sum(os.stat(os.path.join(parent, name)).st_size for name in names)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"--run-code: Python lies in {library}, where a user without rights cannot read it, "
            f"and no copy can be made in {temporary_folder()}: {error}"
        ) from None
    packages = [path for path in _package_folders() if path not in closed]
    packages += [os.path.join(folder, "packages")]
    return PythonLibrary(
        home=folder,
        packages=packages,
        readable=_outermost([*SYSTEM_PATHS, *packages, folder]),
        copied_mb=num_bytes / 1e6,
    )


def copy_tree(source: Path, target: Path) -> None:
    """Copy what programs need of a package or library, readable by all once they can enter.

    Links that lead out of the source are left out: what is behind them may be closed on purpose.
    Raises: OSError.
    """
    inside = os.path.realpath(source) + os.sep
    own_cache = f".{sys.implementation.cache_tag}.pyc"

    def left_out(folder: str, names: list[str]) -> Collection[str]:
        found = {name for name in names if name in _LEFT_OUT or name.startswith("config-")}
        found |= {n for n in names if n.endswith((".a", ".pyi"))}
        found |= {n for n in names if n.endswith(".pyc") and not n.endswith(own_cache)}
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) and not os.path.realpath(path).startswith(inside):
                found.add(name)
        return found

    shutil.copytree(source, target, ignore=left_out, copy_function=_copy_file)


def _copy_file(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    os.chmod(target, 0o644)
    # Compiled modules are taken only if the time of their source is as it was.
    times = os.stat(source)
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def remove_in_the_end(folder: str) -> None:
    """Have a folder removed when this process ends, also when it is killed."""
    code = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"
    remover = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # A signal to the whole group is not for it: it ends when its input does.
        start_new_session=True,
    )
    atexit.register(remover.communicate)


def _own_library() -> PythonLibrary:
    packages = [path for path in _package_folders() if os.path.isdir(path)]
    python = [os.path.realpath(path) for path in (sys.base_prefix, sys.base_exec_prefix)]
    return PythonLibrary(
        home=None, packages=packages, readable=_outermost([*SYSTEM_PATHS, *python, *packages])
    )


def _package_folders() -> list[str]:
    paths = sysconfig.get_paths()
    found = [paths["purelib"], paths["platlib"], *site.getsitepackages()]
    return list(dict.fromkeys(os.path.realpath(path) for path in found))


def _outermost(paths: list[str]) -> list[str]:
    """Those that exist and are not below another."""
    kept: list[str] = []
    for path in sorted({path for path in paths if os.path.exists(path)}):
        if not any(path.startswith(other + "/") for other in kept):
            kept.append(path)
    return kept


def _may_mount() -> bool:
    """Whether this process has the right that mounts and namespaces need."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    capabilities = status.partition("CapEff:")[2].split()[:1]
    return bool(capabilities) and bool(int(capabilities[0], 16) >> _CAP_SYS_ADMIN & 1)
