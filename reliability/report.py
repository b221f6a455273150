"""docs/reliability.md from the committed figures of what was broken on purpose."""

from pathlib import Path

from otr import runs
from reliability.pains import table

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"

_TEXT = """\
# Reliability

<!-- Written by `python -m reliability report` from the figures in `reliability/results/`. `make faults`,
`make fuzz` and `make soak` measure them again; short versions run in `make test`. The source of this page names,
in a comment like this one, the tests behind each line. -->

What was broken on purpose, how often, and what came of it. Every promise and every line below is held by tests.

## Killed and gone on with

`make faults` kills training with SIGKILL at random moments, many of them while a checkpoint is being
written (the half of it was found afterwards), starts the same command again until the run has ended, and
compares weights, optimizer, metrics and samples with a run that was never stopped, bit by bit.

| killed | of these inside a save | runs that went on to their end | that ended differently |
|---|---|---|---|
| {kills} | {inside_a_save} | {runs} | {different} |

## Random and damaged input

`make fuzz` spoils recipes, study files, data and benchmark files, chat templates, and the files of run
folders, study folders, checkpoints, models and adapters. Every case must be used, or be refused with a short message; a changed checkpoint must
be found out. Anything else fails the run and is shown at its smallest.

| input | cases | refused |
|---|---|---|
{fuzz}

## A long run

`make soak` trains for {steps:,} steps through `otr train`, with checkpoints, evaluations and generations
now and then, in a process of its own whose resident memory is measured from outside. Growth is the median
slope between all pairs of measurements (Theil and Sen), from the first tenth of the steps to the end.

| steps | metrics lines | checkpoints written | kept | generations | memory, MiB | grown by, MiB |
|---|---|---|---|---|---|---|
| {steps:,} | {metrics_lines:,} | {checkpoints_written} | {checkpoints_kept} | {generations} | {memory_mb:.0f} | {growth_mb:.1f} |

## Bad input that is refused

On the command line each ends with exit status 2, a message of a few lines that names file, line, field or
setting and the way out, and nothing left behind; the others ask the functions beneath for such a message.
Attacks are those of SECURITY.md, with what must go on working beside them. Counted by collecting the tests.
<!-- `python -m reliability cases` -->

| of | tests |
|---|---|
{cases}

## What is promised

- a checkpoint is whole or not there; a damaged one is not used <!-- `tests/training/test_checkpoints.py`, `test_resume.py` -->
- a run goes on bit by bit: mid-epoch, second epoch, accumulated, packed, streamed, adapters, twice <!-- `tests/training/test_resume.py` -->
- another recipe or changed data are refused with the difference <!-- `tests/training/test_resume.py` -->
- a signal to one of two processes stops and saves both, and they go on bit by bit <!-- `tests/training/test_two_processes.py` -->
- SIGTERM and SIGINT save and exit with 75 <!-- `tests/commands/test_train.py` -->
- a full disk leaves the last checkpoint and says so <!-- `tests/training/test_resume.py` -->
- a step that is not finite touches neither weights nor optimizer, in all processes <!-- `tests/training/test_guard.py` -->
- out of memory names the setting and the figure <!-- `tests/training/test_memory.py` -->

The promise of bits is for a CPU with the same versions and number of threads. On a GPU, libraries may
sum in another order, and a run goes on to rounding.

## What users hit elsewhere

| what happens in other trainers | here |
|---|---|
{pains}
"""


def document() -> str:
    """The whole page."""
    cases = runs.read_json(RESULTS / "fuzz.json")
    lines = [f"| {kind} | {n['tried']:,} | {n['refused']:,} |" for kind, n in cases.items()]
    counts = runs.read_json(RESULTS / "cases.json")
    return _TEXT.format(
        fuzz="\n".join(lines),
        cases="\n".join(f"| {place} | {number} |" for place, number in counts.items()),
        pains=table(),
        **runs.read_json(RESULTS / "kills.json"),
        **runs.read_json(RESULTS / "soak.json"),
    )
