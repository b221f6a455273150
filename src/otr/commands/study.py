"""Many runs, each trained and evaluated in a process of its own; finished ones are kept.

It has no training or evaluation code: a job is a run file and benchmark names.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from otr import runs
from otr.training.config import Run


@dataclass(frozen=True)
class Job:
    """A run to train, and what to evaluate it on; without a run, a model as it is."""

    folder: Path
    benchmarks: tuple[str, ...]
    run: Run | None = None
    model: str | None = None

    @property
    def is_finished(self) -> bool:
        """Scores are the last thing that a job writes."""
        return (self.folder / runs.SCORES).is_file()


def run_jobs(
    jobs: Sequence[Job], *, num_processes: int, progress: Callable[[int, int], None]
) -> None:
    """Do what is not finished yet, several at once on one thread each.

    `progress` is told how many of the unfinished jobs are done, and how many there are.

    Raises: the first exception of a job; jobs that have not started are left.
    """
    waiting = [job for job in jobs if not job.is_finished]
    progress(0, len(waiting))
    if not waiting:
        return
    # Read by the libraries of the new processes when they are loaded.
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(min(num_processes, len(waiting)), mp_context=get_context("spawn"))
    try:
        futures = [pool.submit(_do, job) for job in waiting]
        for number, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(number, len(waiting))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _do(job: Job) -> None:
    from otr.quiet import quiet_libraries

    quiet_libraries()
    from otr.evaluation.pipeline import evaluate
    from otr.training.pipeline import train

    if job.run is not None:
        # A folder without scores is what is left of a run that was stopped.
        train(job.run, restart=(job.folder / runs.CONFIG).is_file(), progress=False)
    evaluate(job.model or str(job.folder), list(job.benchmarks), output=job.folder)
