"""From study files to study folders: run what is missing, compare, write the report."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from otr import runs
from otr.errors import UserError
from otr.study.bar import Bar
from otr.study.file import GRPO, Study
from otr.study.plan import Job, begin, planned_jobs
from otr.study.runner import run_jobs


def run_studies(
    studies: Sequence[Study], *, num_processes: int, restart: bool = False
) -> "list[Comparison]":
    """Run what is missing of some studies, then write results.json and tokens.json of each.

    Raises: UserError for whatever the user must change, before anything is written; Stopped on a
    signal: the finished runs are kept, and the same call goes on.
    """
    for study in studies:
        _check(study)
    with ExitStack() as held:
        planned = []
        for study in studies:
            begin(study, restart=restart)
            held.enter_context(_held(Path(study.output_dir)))
            planned.append(planned_jobs(study))
        jobs = [job for each in planned for job in each]
        if restart:
            _remove(jobs)
        bar = Bar(num_kept=sum(job.is_finished for job in jobs))
        try:
            run_jobs(jobs, num_processes=num_processes, show=bar.show)
        finally:
            bar.close()
        return [
            _results(study, jobs) for study, jobs in zip(studies, planned, strict=True)
        ]
