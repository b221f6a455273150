"""Every case in processes of its own, one after another."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling.cases import CASES, PROCESS, ScalingCase

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    # Freed memory goes back to the system at once, so that what is resident is what is in use.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
_ALONE = "OTR_SCALING_ALONE"
_PORT = 29517
_TIME_LIMIT_SECONDS = 900


def measured_apart(output: Path) -> int:
    """Measure in a process with that environment and, where the system gives one, a loopback
    network of its own, so that nothing but our bytes is counted. Its exit status."""
    command = [sys.executable, "-m", "benchmarks.scaling", "measure", "--here", str(output)]
    environment = {**os.environ, **_ENVIRONMENT}
    up, alone = "ip link set lo up", ["unshare", "--net", "--map-root-user", "sh", "-c"]
    if shutil.which("unshare") and shutil.which("ip"):
        if subprocess.run([*alone, up], capture_output=True).returncode == 0:
            command = [*alone, f'{up} && exec "$@"', "sh", *command]
            environment[_ALONE] = "1"
    return subprocess.run(command, env=environment).returncode


def measured(
    cases: Sequence[ScalingCase] = (PROCESS, *CASES),
) -> Iterator[dict[str, Any]]:
    """What was measured of the cases so far, and what the model says of them.

    Each case has processes forked from this one, which has the libraries loaded and no more.
    """
    from benchmarks.machine import machine

    found = []
    for case in cases:
        print(f"{case.name} …", file=sys.stderr, flush=True)
        found.append(measured_case(case))
        yield {"machine": machine("cpu", 1), "cases": found}


def measured_case(case: ScalingCase) -> dict[str, Any]:
    """One case in forked processes."""
    import benchmarks.scaling.worker  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")
        processes = [
            context.Process(target=_started, args=(case, rank, Path(folder)))
            for rank in range(case.num_processes)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(_TIME_LIMIT_SECONDS)
        if any(process.exitcode != 0 for process in processes):
            for process in processes:
                process.kill()
            raise RuntimeError(f"{case.name}: {[process.exitcode for process in processes]}")
        found = json.loads((Path(folder) / "found.json").read_text("utf-8"))
    if case.num_processes == 1 or _ALONE not in os.environ:
        found["measured"]["bytes_on_the_wire"] = None
    return found


def _started(case: ScalingCase, rank: int, folder: Path) -> None:
    from benchmarks.scaling.worker import work

    if case.num_processes > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(case.num_processes),
            "LOCAL_WORLD_SIZE": str(case.num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_PORT),
            "GLOO_SOCKET_IFNAME": "lo",
        }
    work(case, folder)
