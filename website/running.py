"""The commands of a page, run as a reader would: one after the other, in one empty folder."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from website import ROOT
from website.blocks import Block, blocks
from website.links import documents

_LONGEST_SECONDS = 3600
"""A guard against a command that hangs, not a claim: a study takes long on a machine that is shared."""


def runnable_pages() -> list[Path]:
    """Pages with commands that are marked to be run."""
    return [each for each in documents() if any(block.is_run for block in blocks(each))]


def run_page(page: Path, *, long: bool = True, say: Callable[[str], object] | None = None) -> int:
    """Run a page's commands, those marked as long only if asked for; how many there were.

    Raises: SystemExit at the first command that does not answer 0, or prints something else than the
        page says, with what it said.
    """
    num_run, printed = 0, None
    with tempfile.TemporaryDirectory(prefix="otr-page-") as folder:
        for block in blocks(page):
            if block.file is not None:
                (Path(folder) / block.file).write_text(block.text, encoding="utf-8")
            elif block.mark == "run" or (block.is_run and long):
                start = time.monotonic()
                printed = _run(block, Path(folder))
                num_run += 1
                if say is not None:
                    say(f"{block.place}: done in {time.monotonic() - start:.0f} s")
            elif block.is_run:
                printed = None
            elif block.mark == "output" and printed not in (None, block.text):
                raise SystemExit(f"{block.place}: what is printed is\n{printed}")
    return num_run


def _run(block: Block, folder: Path) -> str:
    scripts = Path(sys.executable).parent
    python_path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    program = [sys.executable, "-"] if block.language == "python" else ["bash", "-euo", "pipefail"]
    try:
        finished = subprocess.run(
            program,
            input=block.text,
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": python_path.rstrip(os.pathsep),
                "HF_HUB_OFFLINE": "1",
            },
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise SystemExit(
            f"{block.place}: not done after {late.timeout:.0f} s\n{block.text}"
        ) from None
    if finished.returncode:
        raise SystemExit(
            f"{block.place}: exit status {finished.returncode}\n{block.text}\n{finished.stdout}"
            f"{finished.stderr}"
        )
    return finished.stdout
