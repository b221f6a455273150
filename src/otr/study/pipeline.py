"""From study files to study folders: run what is missing, compare, write the report."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from otr import runs
from otr.errors import UserError
from otr.evaluation.benchmarks import load_benchmarks
from otr.evaluation.code_answers import unguarded
from otr.evaluation.comparison import Comparison, compare, read_answered, read_run
from otr.evaluation.scored_run import complete_options
from otr.evaluation.sources import scored_name, source_of
from otr.objectives import objective_from_options
from otr.redaction import redacted
from otr.study.bar import Bar
from otr.study.file import GRPO, Study
from otr.study.plan import (
    UNTUNED,
    Job,
    begin,
    own_options,
    planned_jobs,
    rewarded_of,
    run_of,
)
from otr.study.runner import default_num_processes, load_ahead, run_jobs

if TYPE_CHECKING:
    from otr.training.prepared_run import Prepared

_LOCK = ".lock"
_FIRST_ROWS = (0, 1, 2)


def run_studies(
    studies: Sequence[Study],
    *,
    num_processes: int | None = None,
    restart: bool = False,
    run_code: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Comparison]:
    """Run what is missing of some studies, then write results.json, tokens.json and report.html
    of each.

    `run_code` allows to run answers that are programs, in a sandbox; a study file cannot, since it
    may be another's. `say` is told what the user should know before the first run.

    Raises: UserError for whatever the user must change, before anything is run; Stopped on a
    signal: the finished runs are kept, and the same call goes on.
    """
    if num_processes is not None and num_processes < 1:
        raise UserError(f"jobs: must be at least 1, found {num_processes}")
    load_ahead(num_processes)
    gaps = [gap for study in studies for gap in _check(study, run_code=run_code)]
    for gap in dict.fromkeys(gaps):
        say(gap)
    with ExitStack() as held:
        planned = []
        for study in studies:
            begin(study, restart=restart)
            held.enter_context(_held(Path(study.output_dir)))
            planned.append(planned_jobs(study, run_code=run_code))
        jobs = [job for each in planned for job in each]
        if restart:
            for job in jobs:
                shutil.rmtree(job.folder, ignore_errors=True)
        bar = Bar(num_kept=sum(job.is_finished for job in jobs))
        try:
            run_jobs(jobs, num_processes=num_processes or default_num_processes(), show=bar.show)
        finally:
            bar.close()
        return [finish(study, jobs) for study, jobs in zip(studies, planned, strict=True)]


def compared(study: Study, jobs: Sequence[Job]) -> Comparison:
    """What a study's runs say, as far as they are finished."""
    trained = [job for job in jobs if job.run is not None]
    return compare(
        study.name,
        study.title,
        [read_run(job.folder) for job in trained if job.is_finished],
        [_failure(job) for job in trained if not job.is_finished],
        model=redacted(study.base["model"]),
        budget=_budget(study),
        benchmarks={
            group: [scored_name(name) for name in names]
            for group, names in study.benchmarks.groups().items()
        },
        validation=scored_name(study.validation.benchmark),
        untuned=read_answered(Path(study.output_dir) / UNTUNED),
        objectives=[complete_options(own_options(options)) for options in study.objectives],
    )


def finish(study: Study, jobs: Sequence[Job]) -> Comparison:
    """Compare a study's runs, and write its results, token views and report."""
    from otr.report.report import write_report

    folder = Path(study.output_dir)
    if not jobs[0].is_finished:
        error = runs.read_json(jobs[0].folder / runs.FAILED)["error"]
        raise UserError(f"base.model: {study.base['model']!r} could not be scored: {error}")
    comparison = compared(study, jobs)
    runs.write_json(folder / runs.RESULTS, comparison.as_json())
    _write_token_views(study)
    write_report([folder], folder / runs.REPORT)
    return comparison


def _check(study: Study, *, run_code: bool) -> list[str]:
    """Find what no run could do with before the first one begins; what cannot be guarded here."""
    from otr.training.prepared_run import prepare

    names = [name for group in study.benchmarks.groups().values() for name in group]
    loaded = load_benchmarks([*dict.fromkeys(names), study.validation.benchmark], study.limit)
    gaps = unguarded(loaded, run_code=run_code)
    rate, seed = study.learning_rates[0], study.seeds[0]
    for number, options in enumerate(study.objectives):
        run = run_of(study, options, options.get("learning_rates", [rate])[0], seed)
        if number == 0:
            prepared = prepare(run)
            if study.inspect_rows:
                _check_rows(study.inspect_rows, prepared)
        if (rewarded := rewarded_of(study, options, run)) is not None:
            if source_of(rewarded.benchmark).rule == "code":
                raise UserError(
                    f"objectives: {GRPO}: the answers to {rewarded.benchmark} are programs, which "
                    "give no rewards here; name another benchmark as its `reward`"
                )
            from otr.training.grpo import prepare_grpo

            # Which budget it will have is not known yet, only that it is one in seconds.
            known = run.model_copy(update={"max_seconds": run.max_seconds or 1.0})
            prepare_grpo(known, rewarded.verifier)
    return gaps


def _check_rows(rows: Sequence[int], prepared: "Prepared") -> None:
    """Whether there is something to show of rows that were asked for."""
    from otr.training.chosen_examples import chosen_examples

    try:
        chosen_examples(prepared.run.data, rows, prepared.tokenizer, prepared.arguments.max_length)
    except UserError as error:
        raise UserError(f"inspect_rows: {error}") from None


def _failure(job: Job) -> dict[str, Any]:
    """A failed run as the comparison takes it."""
    assert job.run is not None
    path = job.folder / runs.FAILED
    return {
        "run": job.name,
        "objective": complete_options(job.run.objective),
        "learning_rate": job.run.training["learning_rate"],
        "seed": job.run.seed,
        "error": runs.read_json(path)["error"] if path.is_file() else "it was not run",
    }


def _budget(study: Study) -> dict[str, Any]:
    """What every run may use: seconds, steps or epochs."""
    if study.base.get("max_seconds") is not None:
        return {"seconds": study.base["max_seconds"]}
    training = study.base.get("training") or {}
    if training.get("max_steps", -1) > 0:
        return {"steps": training["max_steps"]}
    return {"epochs": training.get("num_train_epochs", 3)}


def _write_token_views(study: Study) -> None:
    """Some training rows token by token, as the base model and the objectives see them."""
    from otr.training.inspection import run_token_views

    rows = _FIRST_ROWS if study.inspect_rows is None else study.inspect_rows
    if not rows:
        return
    objectives = [
        objective_from_options(own_options(options))
        for options in study.objectives
        if options["name"] != GRPO
    ]
    run = run_of(study, study.objectives[0], study.learning_rates[0], study.seeds[0])
    runs.write_json(Path(study.output_dir) / runs.TOKENS, run_token_views(run, rows, objectives))


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep the study folder from a second process."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"output_dir: another otr is at work in {folder}; wait for it") from None
    try:
        yield
    finally:
        lock.release()
