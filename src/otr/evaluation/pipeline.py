"""From a model and benchmark names to scores.json and answers.jsonl."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from otr.errors import UserError
from otr.evaluation.answers import extract
from otr.evaluation.benchmarks import DEMO, VALIDATION, Benchmark, load_benchmarks
from otr.evaluation.generation import Generated, Progress, generate
from otr.evaluation.scores import score
from otr.pretrained import load_model, load_tokenizer
from otr.redaction import redacted
from otr.runs import (
    ANSWERS,
    CONFIG,
    SCORES,
    model_folder,
    read_json,
    read_jsonl,
    refuse_links,
    write_json,
    write_jsonl,
)

Row = dict[str, Any]


def evaluate(
    model_or_run: str,
    benchmarks: list[str],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    limit: int | None = None,
    output: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of a model on benchmarks, by benchmark name.

    `demo` stands for all its parts, and is itself scored over all of them but validation. The
    answers and scores are written to `output`, or else into the run folder, if it is one; what
    stands there of other benchmarks for the same model is kept. Both files are whole or absent.

    Raises: UserError if an option, a benchmark or the model cannot be used.
    """
    _check(samples, temperature)
    loaded = load_benchmarks(benchmarks, limit)
    location = model_folder(model_or_run)
    folder = output if output is not None else _run_folder(model_or_run)
    tokenizer = load_tokenizer(location)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    # `nn.Module.to` returns its own type; transformers' stubs of it do not say so.
    model: Any = load_model(location, dtype=dtype)
    model.to(device).eval()

    rows: list[Row] = []
    for group in _by_length_limit(loaded):
        prompts = [question.prompt for benchmark in group for question in benchmark.questions]
        answers = generate(
            model,
            tokenizer,
            prompts,
            max_new_tokens=group[0].max_new_tokens,
            samples=samples,
            temperature=temperature,
            seed=seed,
            progress=progress,
        )
        rows.extend(_graded(group, answers))
    settings = {
        "model": redacted(model_or_run),
        "samples": samples,
        "temperature": temperature,
        "limit": limit,
        "seed": seed,
    }
    scores = {
        name: _scores_of(chosen) | settings for name, chosen in _scored(loaded, rows, benchmarks)
    }
    if folder is not None:
        _write(folder, scores, rows)
    return scores


def _check(samples: int, temperature: float) -> None:
    if samples < 1:
        raise UserError(f"samples: must be at least 1, is {samples}")
    if not 0 <= temperature <= 100:
        raise UserError(f"temperature: must be 0 (greedy) or above, is {temperature}")
    if samples > 1 and temperature == 0:
        raise UserError(
            f"samples: {samples} greedy answers would all be the same; "
            "give a temperature above 0, for example 0.6"
        )


def _run_folder(model_or_run: str) -> Path | None:
    folder = Path(model_or_run)
    return folder if (folder / CONFIG).is_file() else None


def _by_length_limit(benchmarks: list[Benchmark]) -> list[list[Benchmark]]:
    """Benchmarks that can be generated in one go: those with one limit on new tokens."""
    groups: dict[int, list[Benchmark]] = {}
    for benchmark in benchmarks:
        groups.setdefault(benchmark.max_new_tokens, []).append(benchmark)
    return list(groups.values())


def _graded(benchmarks: list[Benchmark], answers: list[list[Generated]]) -> Iterable[Row]:
    """The rows of answers.jsonl, answers being in the order of the benchmarks' questions."""
    remaining = iter(answers)
    for benchmark in benchmarks:
        for question in benchmark.questions:
            wanted = extract(question.reference, benchmark.name)
            for sample, answer in enumerate(next(remaining)):
                extracted = extract(answer.text, benchmark.name)
                yield {
                    "benchmark": benchmark.name,
                    "id": question.id,
                    "category": question.category,
                    "sample": sample,
                    "prompt": question.prompt,
                    "output": answer.text,
                    "extracted": extracted,
                    "reference": question.reference,
                    "correct": extracted is not None and extracted == wanted,
                    "truncated": answer.truncated,
                    "num_tokens": answer.num_tokens,
                }


def _scored(
    benchmarks: list[Benchmark], rows: list[Row], names: list[str]
) -> Iterable[tuple[str, list[Row]]]:
    """Each entry of scores.json with its rows."""
    if DEMO in names:
        parts = {each.name for each in benchmarks if each.name.startswith(f"{DEMO}/")}
        yield DEMO, [row for row in rows if row["benchmark"] in parts - {VALIDATION}]
    for benchmark in benchmarks:
        yield benchmark.name, [row for row in rows if row["benchmark"] == benchmark.name]


def _scores_of(rows: list[Row]) -> dict[str, Any]:
    """The scores of some rows, with those of each category where there are several."""
    scores = score(_by_question(rows))
    scores["num_truncated"] = sum(row["truncated"] for row in rows)
    categories = list(dict.fromkeys(row["category"] for row in rows))
    if len(categories) > 1:
        scores["categories"] = {
            category: score(_by_question([row for row in rows if row["category"] == category]))
            for category in categories
        }
    return scores


def _by_question(rows: list[Row]) -> list[list[bool]]:
    correct: dict[str, list[bool]] = {}
    for row in rows:
        correct.setdefault(row["id"], []).append(row["correct"])
    return list(correct.values())


def _write(folder: Path, scores: dict[str, Any], rows: list[Row]) -> None:
    """Write both files, keeping what is there of other benchmarks for the same model."""
    refuse_links(folder)
    folder.mkdir(parents=True, exist_ok=True)
    old_scores = read_json(folder / SCORES) if (folder / SCORES).is_file() else {}
    model = next(iter(scores.values()))["model"]
    kept = {
        name: entry
        for name, entry in old_scores.items()
        if name not in scores and entry.get("model") == model
    }
    old_rows = read_jsonl(folder / ANSWERS) if kept and (folder / ANSWERS).is_file() else ()
    write_jsonl(
        folder / ANSWERS,
        [row for row in old_rows if row.get("benchmark") in kept] + rows,
    )
    write_json(folder / SCORES, kept | scores)
