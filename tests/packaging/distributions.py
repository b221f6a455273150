"""The source distribution and the wheel, and an environment that holds the wheel and no more than
what it asks for."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process that sees neither this checkout's source nor the user's own packages."""
    environment = {**os.environ, "PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def built(folder: Path) -> tuple[Path, Path]:
    """The source distribution of this checkout, and the wheel made from its contents alone."""
    hatchling = (sys.executable, "-m", "hatchling", "build", "-d", folder)
    done = run(*hatchling, "-t", "sdist", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    done = run(*hatchling, "-t", "wheel", cwd=folder / "unpacked" / source.name[: -len(".tar.gz")])
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return source, wheel


def required(distribution_: Distribution, extra: str = "") -> list[Requirement]:
    """What a distribution asks for here, with an extra or with none."""
    found = [Requirement(text) for text in distribution_.requires or ()]
    return [each for each in found if not each.marker or each.marker.evaluate({"extra": extra})]


def closure(distribution_: Distribution) -> dict[str, Distribution]:
    """The installed distributions that a plain installation of one brings, by normal name."""
    found: dict[str, Distribution] = {}
    waiting = required(distribution_)
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        for extra in {"", *wanted.extras}:
            if f"{name}[{extra}]" in found:
                continue
            try:
                found[f"{name}[{extra}]"] = distribution(name)
            except PackageNotFoundError:
                continue  # Not even needed to run the tests.
            waiting += required(found[f"{name}[{extra}]"], extra)
    return {name.partition("[")[0]: each for name, each in found.items()}


def environment(folder: Path, wheel: Path) -> Path:
    """The Python of a new environment with the wheel, and, from the packages that are installed
    here, those alone that the wheel requires without any extra."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    done = run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    (site,) = (folder / "lib").glob("python*/site-packages")
    (metadata,) = site.glob("otr-*.dist-info")
    shared = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    view = folder / "required"
    view.mkdir()
    for each in closure(Distribution.at(metadata)).values():
        for top in {file.parts[0] for file in each.files or () if file.parts[0] != ".."}:
            for packages in shared:
                if (packages / top).exists() and not (view / top).exists():
                    (view / top).symlink_to(packages / top)
    (site / "required.pth").write_text(f"{view}\n")
    return python
