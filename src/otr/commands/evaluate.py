"""`otr eval`: score a model or a run on benchmarks."""

import argparse
import sys
from pathlib import Path

_EXAMPLE = """example:
  otr eval runs/first --benchmark demo
  otr eval Qwen/Qwen2.5-3B --benchmark gsm8k=test.jsonl --limit 200 --output scores/base

A run's scores.json and answers.jsonl are written into its folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("model", help="a run folder, a model folder, a hub id, or demo")
    parser.add_argument(
        "--benchmark",
        action="append",
        required=True,
        metavar="NAME",
        help="demo, one of its parts (demo/in_domain, …), or NAME=file.jsonl; may be repeated",
    )
    parser.add_argument("--samples", type=int, default=1, help="answers a question (1)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="of the sampling; 0 is greedy (0)"
    )
    parser.add_argument("--limit", type=int, help="only the first questions of each benchmark")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (0)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the scores go")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, and print a line for each benchmark."""
    from otr.quiet import quiet_libraries

    quiet_libraries()
    from tqdm import tqdm

    from otr.evaluation.pipeline import evaluate

    bars: list[tqdm] = []

    def progress(num_done: int, num_all: int) -> None:
        if not bars or bars[-1].total != num_all:
            bars.append(tqdm(total=num_all, unit="answer", dynamic_ncols=True, leave=False))
        bars[-1].update(num_done - bars[-1].n)

    try:
        scores = evaluate(
            arguments.model,
            arguments.benchmark,
            samples=arguments.samples,
            temperature=arguments.temperature,
            limit=arguments.limit,
            output=arguments.output,
            seed=arguments.seed,
            progress=progress if sys.stderr.isatty() else None,
        )
    finally:
        for bar in bars:
            bar.close()
    width = max(len(name) for name in scores)
    for name, entry in scores.items():
        low, high = entry["interval_95"]
        print(
            f"{name:{width}}  {100 * entry['accuracy']:5.1f} %  "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f}, n = {entry['n']}"
            + (f", {entry['num_truncated']} cut short" if entry["num_truncated"] else "")
            + ")"
        )
    return 0
