"""docs/contamination.md's figures: what GSM8K's training half shares with benchmarks, and how fast
it is found.

    python -m benchmarks.contamination FOLDER

FOLDER holds gsm8k/train.jsonl, and NAME/test.jsonl for each benchmark to look for.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from otr.evaluation.benchmark_file import catalogue
from otr.evaluation.contamination import Contamination, contamination
from otr.training.config import Data
from otr.training.texts import training_texts

DOCUMENT = Path(__file__).parents[1] / "docs" / "contamination.md"
BEGIN, END = "<!-- figures:begin -->\n", "<!-- figures:end -->\n"
REPEATED = 20


def main() -> None:
    """Measure, and write the figures into the document."""
    parser = argparse.ArgumentParser(description="Measure, and write docs/contamination.md")
    parser.add_argument("folder", type=Path, help="with gsm8k/train.jsonl and NAME/test.jsonl")
    folder = parser.parse_args().folder
    names = [
        f"{name}={folder / name / 'test.jsonl'}"
        for name in catalogue()
        if (folder / name / "test.jsonl").is_file()
    ]
    data = Data(train=str(folder / "gsm8k" / "train.jsonl"), prompt="question", completion="answer")
    found = contamination(names, training_texts(data))
    before, seconds = _peak_mb(), time.process_time()
    repeated = contamination(names, _repeated(data))
    seconds = time.process_time() - seconds
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    figures = _figures(found, repeated, seconds, _peak_mb() - before)
    DOCUMENT.write_text(head + BEGIN + figures + END + tail, encoding="utf-8")
    print(figures, end="")


def _repeated(data: Data) -> Iterator[tuple[str, list[str]]]:
    for _ in range(REPEATED):
        yield from training_texts(data)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _figures(found: Contamination, repeated: Contamination, seconds: float, grown: float) -> str:
    rows = [
        "| benchmark | texts | copied | nearly | 13 words in a row | not looked for |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {each.benchmark} | {each.num_texts} {each.kind} | {each.num_copied} | {each.num_near} | "
        f"{each.num_overlapping} | {each.num_short} |"
        for each in found.overlaps
    ]
    speed = (
        f"{found.num_rows:,} rows of {found.num_words:,} words. Read {REPEATED} times over: "
        f"{repeated.num_words / seconds / 1e6:.2f} million words a second of one core's time, reading "
        f"the file and building the tables included; peak memory {grown:,.0f} MB above one reading's."
    )
    return "\n".join([*rows, "", speed, ""])


if __name__ == "__main__":
    main()
