"""What a page says of runs, whether a study made them or not: scores, cost, data, answers, settings."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from otr import runs
from otr.formats import points
from otr.report.folders import Group, flattened, optional_json
from otr.report.parts import clean_name, part

_MOST_PROMPTS = 8
_FEW_RUNS = 4
"""So many have a column each; more have a line each."""
_MUCH_CUT = 0.2
_GLUE = "\N{NO-BREAK SPACE}"
_SAID_BY_NAME = ("output_dir",)
"""What differs between all runs, and says no more than their names."""


def scores(group: Group) -> Markup:
    """What `otr eval` found of each run."""
    found = {
        label: runs.read_as(path, dict[str, runs.Scored])
        for label, folders in group.run_folders.items()
        if folders and (path := folders[0] / runs.SCORES).is_file()
    }
    names = list(dict.fromkeys(name for entries in found.values() for name in entries))
    lines = [
        [label, *(_score(entries[name]) if name in entries else "–" for name in names)]
        for label, entries in found.items()
    ]
    header = ["percent right (95 % interval)", *map(clean_name, names)]
    return part("rows", header, lines) if names else Markup("")


def _score(entry: runs.Scored) -> str:
    """Accuracy and interval, or the metrics of what is not right or wrong; of how many questions, and
    how many answers were cut off."""
    if "accuracy" in entry and "interval_95" in entry:
        low, high = map(points, entry["interval_95"])
        text = f"{points(entry['accuracy'])} ({low}{_GLUE}to{_GLUE}{high})"
    else:
        metrics = entry.get("metrics", {})
        text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    text += f", n{_GLUE}={_GLUE}{entry['n']}"
    cut = entry.get("num_truncated", 0)
    if cut:
        text += f", {cut}{_GLUE}cut off"
        if cut >= _MUCH_CUT * entry["n"] * entry.get("samples", 1):
            text += ": may be right by what they happen to end with"
    return text


def cost(group: Group) -> Markup:
    """Means over the shown runs."""
    plain = ("seconds", "num_steps", "tokens_per_second", "peak_memory_mb")
    scales = {**dict.fromkeys(plain, 1), "head_share": 100}
    lines = []
    for label, folders in group.run_folders.items():
        costs = [cost for each in folders if (cost := optional_json(each / runs.COST))]
        if costs:
            means = [_mean([cost.get(name) for cost in costs], by) for name, by in scales.items()]
            lines.append([label, *means])
    header = ["", "seconds", "steps", "tokens/s", "peak memory, MiB", "head's share, %"]
    return part("rows", header, lines) if lines else Markup("")


def data(group: Group) -> Markup:
    """The audit of each method's first run, where they differ; else the first one's."""
    lines: list[list[str]] = []
    for label, folders in group.run_folders.items():
        if folders and (path := folders[0] / runs.AUDIT).is_file():
            audit = runs.read_as(path, runs.Audit)
            remarks = [*audit["problems"], *audit["notes"]]
            figures = [audit["num_examples"], audit["num_supervised"], audit["num_tokens"]]
            line = [*(f"{figure:,}" for figure in figures), "; ".join(remarks) or "nothing lost"]
            if line not in [other[1:] for other in lines]:
                lines.append([label if lines else "training data", *line])
    header = ["", "examples", "supervised tokens", "tokens", "what was found"]
    return part("rows", header, lines) if lines else Markup("")


def answers(group: Group) -> Markup:
    """The same prompts under each method's first run, where they disagree first."""
    by_id: dict[str, dict[str, Any]] = {}
    for label, folders in group.run_folders.items():
        path = folders[0] / runs.ANSWERS if folders else Path()
        for row in runs.read_jsonl(path) if path.is_file() else ():
            if row.get("sample", 0) == 0 and {"id", "prompt", "output"} <= row.keys():
                prompt = by_id.setdefault(str(row["id"]), {"reference": "", **row, "answers": []})
                prompt["answers"].append(
                    {
                        "label": label,
                        "output": row["output"],
                        "correct": row.get("correct"),
                        "cut": row.get("truncated", False),
                    }
                )
    first = group.results["benchmarks"]["in_domain"] if group.results is not None else []

    def order(prompt: dict[str, Any]) -> tuple[bool, float]:
        share = sum(bool(answer["correct"]) for answer in prompt["answers"])
        return prompt.get("benchmark") not in first, abs(share / len(prompt["answers"]) - 0.5)

    chosen = sorted(by_id.values(), key=order)[:_MOST_PROMPTS]
    return part("answers", chosen) if chosen else Markup("")


def settings(group: Group) -> Markup:
    """What the runs' configurations differ in, and what they were made with."""
    folders = [each for kept in group.run_folders.values() for each in kept]
    configs = [
        flattened(runs.read_yaml(each / runs.CONFIG)) if (each / runs.CONFIG).is_file() else {}
        for each in folders
    ]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    differing = [
        key
        for key in keys
        if key not in _SAID_BY_NAME and len({config.get(key) for config in configs}) > 1
    ]
    if len(folders) <= _FEW_RUNS:
        names = [each.name for each in folders]
        lines = [[key, *(config.get(key, "–") for config in configs)] for key in differing]
        shown = part("rows", ["differs in", *names], lines)
    else:
        pairs = [[(key, each[key]) for key in differing if key in each] for each in configs]
        shown = part("settings", list(zip((each.name for each in folders), pairs, strict=True)))
    made = flattened(optional_json(folders[0] / runs.ENVIRONMENT)) if folders else {}
    # Where it was started is nothing to hand on with a page.
    made.pop("started_in", None)
    parts = [shown]
    if made:
        parts.append(part("facts", list(made.items())))
    return Markup("").join(parts)


def _mean(values: list[Any], scale: int) -> str:
    """A mean, times a scale, to three digits or to the unit."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return "–"
    mean = scale * sum(numbers) / len(numbers)
    return f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.3g}"
