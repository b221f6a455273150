"""The command: measure, print the targets, write the results and their picture."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str] | None = None) -> int:
    """Answers 0 also where targets are missed: it is a measurement."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What the head costs, against three bare matrix products and other heads.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, within three minutes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (1)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("benchmarks/results"),
        metavar="DIR",
        help="where results and picture go (benchmarks/results)",
    )
    arguments = parser.parse_args(words)
    if arguments.threads < 1:
        parser.error(f"--threads must be at least 1, found {arguments.threads}")
    # Read when torch is loaded, so before the imports below.
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    _quiet()
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this torch sees no CUDA device")

    from benchmarks.benchmark import run
    from benchmarks.machine import slug
    from benchmarks.plan import plan
    from benchmarks.table import text

    results = run(
        plan(arguments.device, arguments.quick),
        arguments.device,
        arguments.threads,
        quick=arguments.quick,
    )
    print(text(results))
    name = slug(results["machine"]["device"]) + ("-quick" if arguments.quick else "")
    arguments.output.mkdir(parents=True, exist_ok=True)
    written = arguments.output / f"{name}.json"
    written.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(written)
    try:
        from benchmarks.picture import draw, draw_summary
    except ModuleNotFoundError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return 0
    draw(results, picture := arguments.output / f"{name}.svg")
    draw_summary(results, summary := arguments.output / f"{name}-summary.svg")
    print(picture, summary)
    return 0


def _quiet() -> None:
    """No bars and notes of the libraries between the lines of progress."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; no figures were written")
