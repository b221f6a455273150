"""The progress bar of a study, with the time left."""

import sys
from typing import Any

from tqdm import tqdm

from otr import runs
from otr.study.plan import Job
from otr.study.runner import Progress, last_row
from otr.terminal import bar_options, visible, wrapped

_LEAST_PROMISE = 0.05
"""Share of the work that is done before the time left is worth a word."""

_SCORING_SHARE = 0.2
"""What is left of a run when its training is done, about."""


class Bar:
    """Shows how far the runs are: whole ones, and the running ones by their steps."""

    def __init__(self, num_kept: int) -> None:
        bar = "|{bar}| " if sys.stderr.isatty() else " "
        # The words are the description: tqdm puts a comma before what it calls the postfix.
        options: dict[str, Any] = {
            **bar_options("run"),
            "bar_format": "{percentage:3.0f}%" + bar + "{desc}",
        }
        self.bar = tqdm(**options)
        self.num_kept = num_kept
        self.num_failed = 0

    def show(self, progress: Progress) -> None:
        """Draw the state of the runs, and a line for each that failed."""
        for job in progress.failed[self.num_failed :]:
            error = runs.read_json(job.folder / runs.FAILED)["error"]
            line = f"failed: {job.name}: {visible(error)[:300]}"
            self.bar.write("\n".join(wrapped([line], stream=sys.stderr)), file=sys.stderr)
        self.num_failed = len(progress.failed)
        if self.bar.total != progress.num_all:
            self.bar.reset(total=progress.num_all)
        done = progress.num_done + sum(share_done(job) for job in progress.running)
        kept = f", {self.num_kept} kept from before" if self.num_kept else ""
        self.bar.set_description_str(
            f"{progress.num_done} of {progress.num_all} runs{kept}{self._left(done)}",
            refresh=False,
        )
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self.bar.refresh()
        self.bar.close()

    def _left(self, done: float) -> str:
        total = self.bar.total or 0
        elapsed = self.bar.format_dict["elapsed"]
        if not total or done < _LEAST_PROMISE * total or done >= total:
            return ""
        return f", about {tqdm.format_interval(elapsed * (total - done) / done)} left"


def share_done(job: Job) -> float:
    """How much of a running job is done, about: its share of the steps or seconds."""
    if job.run is None:
        return 0.0
    row = last_row(job)
    most_steps = job.run.training.get("max_steps")
    share = 0.0
    if job.run.max_seconds is not None:
        share = float(row.get("seconds", 0.0)) / job.run.max_seconds
    elif isinstance(most_steps, int) and most_steps > 0:
        share = int(row.get("step", 0)) / most_steps
    return min(share, 1.0) * (1 - _SCORING_SHARE)
