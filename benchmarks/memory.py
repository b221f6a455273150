"""Peak memory of a head's forward and backward pass: on the CPU, a fresh process for each.

The child makes the inputs, makes a call at tiny sizes, and reads its resident memory; the peak
is then sampled from a thread, and taken from the kernel's own record where that has grown. Freed
memory goes back to the system at once, so that what is resident is what is in use.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import Case, make_inputs
from benchmarks.heads import HEADS
from benchmarks.measuring import prepared, reason

_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
_SAMPLE_SECONDS = 0.001
_TIME_LIMIT_SECONDS = 600


def peak_memory(case: Case, head: str, threads: int) -> dict[str, Any]:
    """The peak of one head above its inputs, in bytes, and the gradients' share of it.

    Returns: `peak_bytes`, `hidden_gradient_bytes`, `weight_gradient_bytes`; or `skipped`.
    """
    environment = {**os.environ, **_ALLOCATOR, "OMP_NUM_THREADS": str(threads)}
    argument = json.dumps({"case": asdict(replace(case, heads=())), "head": head})
    try:
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", argument, str(threads)],
            cwd=Path(__file__).parent.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"took more than {_TIME_LIMIT_SECONDS} s"}
    lines = child.stdout.strip().splitlines()
    if child.returncode != 0 or not lines:
        return {"skipped": f"its process ended with {child.returncode}"}
    return json.loads(lines[-1])


class _Sampler(threading.Thread):
    """Reads the resident memory until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, _resident())

    def stop(self) -> int:
        self._stop_asked.set()
        self.join()
        return self.peak_bytes


def _measured(case: Case, name: str) -> dict[str, Any]:
    head = HEADS[name]
    tiny = make_inputs(replace(case, rows=8, width=16, vocabulary=600), "cpu")
    prepared(head, tiny)()
    del tiny
    inputs = make_inputs(case, "cpu")
    run = prepared(head, inputs)
    _give_back()
    before, recorded = _resident(), _recorded_peak()
    sampler = _Sampler()
    sampler.start()
    run()
    peak = sampler.stop()
    if _recorded_peak() > recorded:
        peak = _recorded_peak()
    gradients = {"hidden": inputs.hidden_TD.grad, "weight": inputs.weight_VD.grad}
    sizes = {
        f"{part}_gradient_bytes": 0 if gradient is None else gradient.nbytes
        for part, gradient in gradients.items()
    }
    return {"peak_bytes": peak - before, **sizes}


def _resident() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def _recorded_peak() -> int:
    """The kernel's record of this process's largest resident memory; 0 where there is none."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _give_back() -> None:
    """Return freed memory to the system."""
    gc.collect()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)


def _main() -> None:
    call = json.loads(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    try:
        found = _measured(Case(**call["case"]), call["head"])
    except Exception as error:
        found = {"skipped": reason(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
