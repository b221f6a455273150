"""`otr eval`: score a model or a run on benchmarks."""

import argparse
import textwrap
import time
from pathlib import Path
from typing import Any

from otr.commands.group import is_first, left_in_the_end
from otr.commands.words import benchmark_names
from otr.errors import UserError
from otr.terminal import bar_options, tell, wrapped

_BAR = "{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} answers, {remaining} left{postfix}"

_EXAMPLE = """example:
  otr eval runs/first --benchmark demo
  otr eval Qwen/Qwen2.5-3B --benchmark gsm8k=test.jsonl --output scores/base
  otr eval runs/first --benchmark gsm8k=test.jsonl --samples 8 --temperature 0.6
  torchrun --nproc-per-node 4 -m otr eval runs/first --benchmark demo

A run's scores.json and answers.jsonl are written into its folder. Answers are
kept as they come, in answers.partial/: stopped (status 75) or killed, the same
command resumes. With several processes, each answers a part of the questions.

Names of benchmarks:
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    names = textwrap.fill(", ".join(benchmark_names()), width=76)
    parser.epilog = _EXAMPLE + textwrap.indent(names, "  ")
    parser.add_argument("model", help="a run folder, a model folder, a hub id, or demo")
    parser.add_argument(
        "--benchmark",
        action="append",
        default=[],
        metavar="NAME",
        help="demo, one of its parts (demo/in_domain, …), a name below, NAME=file.jsonl to read its "
        "questions from a file, or a YAML file; may be repeated",
    )
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N", help="answers a question (1)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="of the sampling; 0 is greedy (0)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only the first questions of each benchmark"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sampling (0)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the scores go")
    parser.add_argument(
        "--prompt",
        metavar="base|chat",
        help="plain text, or a conversation under the model's chat template; unless given, chat "
        "for runs trained on conversations",
    )
    parser.add_argument(
        "--run-code", action="store_true", help="run answers that are programs, in a sandbox"
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="do anew what is finished, and drop what a stopped evaluation has left",
    )
    parser.add_argument(
        "--engine",
        metavar="NAME",
        default="transformers",
        help="transformers, or vllm where it is installed",
    )
    parser.add_argument(
        "--harness",
        action="append",
        default=[],
        metavar="TASK",
        help="a task of lm-evaluation-harness, or its YAML file; needs the extra `harness`; may be "
        "repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, and print a line for each benchmark."""
    if not arguments.benchmark and not arguments.harness:
        raise UserError("name what to score on, for example --benchmark demo")
    from otr import runs
    from otr.evaluation.sources import source_of
    from otr.quiet import quiet_libraries

    for name in arguments.benchmark:
        # A name that is unknown is said before libraries are loaded for seconds.
        if name != "demo":
            source_of(name)
    quiet_libraries()
    from otr.evaluation.pipeline import evaluate
    from otr.evaluation.written import scores_folder

    bar = _AnswerBar()
    try:
        with left_in_the_end():
            scores = evaluate(
                arguments.model,
                arguments.benchmark,
                samples=arguments.samples,
                temperature=arguments.temperature,
                limit=arguments.limit,
                output=arguments.output,
                seed=arguments.seed,
                run_code=arguments.run_code,
                restart=arguments.restart,
                harness=arguments.harness,
                engine=arguments.engine,
                prompt=arguments.prompt,
                progress=bar.done,
                running=bar.running,
                say=tell,
            )
    finally:
        bar.close()
    if is_first():
        _print(scores)
        folder = scores_folder(arguments.model, arguments.output)
        kept = "these scores are kept nowhere; --output DIR keeps them, and the answers"
        if folder is not None:
            kept = f"scores: {folder / runs.SCORES}   answers: {folder / runs.ANSWERS}"
        tell(kept)
    return 0


class _AnswerBar:
    """How many answers there are, and how far the batch at work is: a long one takes minutes, in which
    no answer comes."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown = 0.0

    def done(self, num_done: int, num_all: int) -> None:
        """Show the number of answers."""
        from tqdm import tqdm

        if self._bar is None:
            # What was there before does not count for the time that is left.
            options = bar_options("answer", _BAR)
            self._bar = tqdm(total=num_all, initial=num_done, leave=False, **options)
        self._bar.update(num_done - self._bar.n)

    def running(self, num_rows: int, num_tokens: int, most_tokens: int) -> None:
        """Show how far the batch at work is."""
        now = time.monotonic()
        if self._bar is None or now - self._shown < self._bar.mininterval:
            return
        self._shown = now
        self._bar.set_postfix_str(
            f"{num_rows} running, {num_tokens} of at most {most_tokens} tokens"
        )

    def close(self) -> None:
        """Leave the screen as it was."""
        if self._bar is not None:
            self._bar.close()


def _print(scores: dict[str, Any]) -> None:
    from otr.evaluation.verdicts import cut_warnings

    width = max(len(name) for name in scores)
    lines = [f"{name:{width}}  {_in_words(entry)}" for name, entry in scores.items()]
    print("\n".join(wrapped(lines, width + 2)))
    shares = {
        name: {"": entry["num_truncated"] / (entry["n"] * entry["samples"])}
        for name, entry in scores.items()
        if entry.get("num_truncated")
    }
    for line in wrapped([f"warning: {words}" for words in cut_warnings(shares)]):
        print(line)


def _in_words(entry: dict[str, Any]) -> str:
    """A score with its interval, how it was asked for, and what went wrong."""
    if "accuracy" not in entry:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in entry["metrics"].items())
        return f"{metrics} (n = {entry['n']})"
    low, high = entry["interval_95"]
    words = [
        f"95 % interval {100 * low:.1f} to {100 * high:.1f}, n = {entry['n']}",
        f"{entry['prompt']} prompt",
    ]
    if entry.get("num_truncated"):
        words.append(f"{entry['num_truncated']} cut short")
    words += [f"{number} {problem}" for problem, number in entry.get("problems", {}).items()]
    text = f"{100 * entry['accuracy']:5.1f} %  ({', '.join(words)})"
    if "pass_at_k" in entry:
        text += "  " + ", ".join(
            f"pass@{k} {100 * share:.1f}" for k, share in entry["pass_at_k"].items()
        )
    return text
