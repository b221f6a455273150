"""`otr compare`: which objective, on your model and data, with error bars."""

import argparse
from pathlib import Path

from otr.commands.recipe import add_overrides
from otr.terminal import tell, wrapped

_EXAMPLE = """example:
  otr compare study.yaml
  otr compare study.yaml seeds='[0, 1]' --jobs 1

A study file:
  base:                 # a run file without objective, seed and output_dir
    model: demo
    data: {train: rows.jsonl, prompt: question, completion: answer}
    training: {max_steps: 120}
  objectives:           # compared with the first
    [{name: sft}, {name: dft}, {name: otr}]
  learning_rates:       # swept for each; the best on `validation` is kept
    [1.0e-5, 3.0e-5, 1.0e-4]
  seeds: [0, 1, 2]
  validation: {benchmark: gsm8k/validation=held-out.jsonl}
  benchmarks: {in_domain: [gsm8k=test.jsonl], retention: [demo/retention]}
  output_dir: studies/first

Runs what is missing, several at once, then writes results.json and report.html.
If it is stopped at any moment, the same command resumes it. A run that fails is
reported, and retried by the next start. Exit status 1 if runs failed, 75 if
stopped by a signal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("study", help="the study file, YAML")
    add_overrides(parser)
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs at once (one a GPU; without GPUs one a core)"
    )
    parser.add_argument(
        "--run-code", action="store_true", help="run answers that are programs, in a sandbox"
    )
    parser.add_argument(
        "--restart", action="store_true", help="run everything anew that the folder already holds"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the study, and print what came out."""
    from otr import runs
    from otr.quiet import quiet_libraries
    from otr.study.file import load_study

    study = load_study(arguments.study, arguments.overrides)
    quiet_libraries()
    from otr.evaluation.table import table
    from otr.study.pipeline import run_studies

    (comparison,) = run_studies(
        [study],
        num_processes=arguments.jobs,
        restart=arguments.restart,
        run_code=arguments.run_code,
        say=tell,
    )
    print(table(comparison), end="")
    folder = Path(study.output_dir)
    places = f"report: {folder / runs.REPORT}   numbers: {folder / runs.RESULTS}"
    print("\n".join(["", *wrapped([places])]))
    return 1 if comparison.failed else 0
