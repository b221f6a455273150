"""One HTML page from run and study folders: the verdict first, then what it rests on."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from markupsafe import Markup

from otr import runs
from otr.errors import UserError
from otr.report.curves import curve_figures
from otr.report.drawing import Figure
from otr.report.figures import GROUPS, difference_figure, sensitivity_figure, trade_off_figure
from otr.report.folders import Group, flattened, metrics, optional_json, read_groups
from otr.report.page import Section, asset, environment, page
from otr.report.token_view import section as token_section

_MOST_PROMPTS = 8
_LONGEST_TEXT = 2000
_LONGEST_NAME = 100
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n){3,}")
_GLUE = "\N{NO-BREAK SPACE}"
_OF_DAMAGE = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, TemplateError,
)  # fmt: skip


def write_report(folders: Sequence[Path], output: Path) -> None:
    """Write the page, whole or not at all.

    Raises: UserError if a folder is neither a run's nor a study's, or a file in it is broken.
    """
    groups = read_groups(list(folders))
    sections = []
    for number, group in enumerate(groups):
        prefix = f"g{number}-" if len(groups) > 1 else ""
        part = clean(group.title) if len(groups) > 1 else ""
        sections += [replace(each, part=part) for each in _whole_sections(group, prefix)]
    title = groups[0].title if len(groups) == 1 else "Comparison"
    output.parent.mkdir(parents=True, exist_ok=True)
    runs.write_text(output, page(clean(title), sections))


def clean(text: object, longest: int = _LONGEST_TEXT) -> str:
    """Text with control and direction characters as visible escapes, cut if long; lines stay, but
    several empty ones together are counted."""
    whole = _EMPTY_LINES.sub(_counted, str(text))
    shown = "".join(_visible(character) for character in whole[:longest])
    return shown if len(whole) <= longest else f"{shown} … ({len(whole):,} characters in all)"


def _name(label: object) -> str:
    """A method's name as the figures have it."""
    return clean(label, _LONGEST_NAME).replace("\n", " ")


def _counted(lines: re.Match[str]) -> str:
    return f"\n… {lines[0].count(chr(10)):,} line breaks …\n"


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co"):
        return character
    return character.encode("unicode_escape").decode()


def _whole_sections(group: Group, prefix: str) -> list[Section]:
    """The sections of a group whose files are as they were written.

    Raises: UserError if one of them is not.
    """
    if group.results is None:
        return _sections(group, prefix)
    try:
        return _sections(group, prefix)
    except UserError:
        raise
    except _OF_DAMAGE as error:
        # What results.json and tokens.json hold is much, and all of it otr's own: there is no
        # field that may be otherwise.
        reason = clean(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"{group.folder}: {runs.RESULTS} or {runs.TOKENS} was changed or is damaged ({reason}); "
            "otr compare writes them anew"
        ) from error


def _sections(group: Group, prefix: str) -> list[Section]:
    results, found = group.results, []
    if results is not None:
        methods = [each | {"label": _name(each["label"])} for each in results["methods"]]
        keys = [key for key in GROUPS if any(key in m["scores"] for m in methods)]
        keys += [
            name for names in results["benchmarks"].values() if len(names) > 1 for name in names
        ]
        found = [
            ("verdict", "Verdict", _part("verdict", results)),
            (
                "trade-off",
                "Learning against forgetting",
                _drawn([trade_off_figure(methods, f"{prefix}trade-off")]),
            ),
            (
                "scores",
                "Scores",
                _drawn([difference_figure(methods, f"{prefix}differences")])
                + _part("scores", results, keys),
            ),
            (
                "rates",
                "Learning rates",
                _drawn([sensitivity_figure(methods, f"{prefix}rates")]),
            ),
        ]
    curves = {
        _name(label): [metrics(each) for each in kept] for label, kept in group.run_folders.items()
    }
    if results is None:
        found.append(("scores", "Scores", _scores(group)))
    found += [
        ("curves", "Training", _side_by_side(curve_figures(curves, f"{prefix}curves"))),
        ("cost", "Cost", _cost(group)),
        ("data", "Data", _data(group)),
        ("answers", "Answers side by side", _answers(group)),
    ]
    styles, scripts = asset("figures.css"), asset("figures.js")
    sections = [
        Section(id=f"{prefix}{id}", title=title, html=html, styles=styles, scripts=scripts)
        for id, title, html in found
        if html
    ]
    if group.tokens is not None and group.tokens["examples"]:
        sections.append(token_section(group.tokens, id=f"{prefix}tokens"))
    return [*sections, Section(id=f"{prefix}runs", title="Runs", html=_runs(group))]


def _part(name: str, *arguments: Any) -> Markup:
    """One of the macros of report.html."""
    template = environment().get_template("report.html")
    module = template.make_module(
        {"clean": clean, "percent": _percent, "signed": _signed, "untuned": _untuned}
    )
    return getattr(module, name)(*arguments)


def _drawn(figures: Sequence[Figure | None]) -> Markup:
    return Markup("").join(figure.html() for figure in figures if figure is not None)


def _side_by_side(figures: Sequence[Figure | None]) -> Markup:
    """The figures in as many columns as fit; nothing if there are none."""
    drawn = _drawn(figures)
    return Markup('<div class="columns">') + drawn + Markup("</div>") if drawn else drawn


def _scores(group: Group) -> Markup:
    """What `otr eval` found of each run."""
    found = {
        label: runs.read_as(path, dict[str, runs.Scored])
        for label, folders in group.run_folders.items()
        if folders and (path := folders[0] / runs.SCORES).is_file()
    }
    names = list(dict.fromkeys(name for scores in found.values() for name in scores))
    lines = [
        [label, *(_score(scores[name]) if name in scores else "–" for name in names)]
        for label, scores in found.items()
    ]
    header = ["percent right (95 % interval)", *map(_name, names)]
    return _part("rows", header, lines) if names else Markup("")


def _score(entry: runs.Scored) -> str:
    """Accuracy and interval, or the metrics of what is not right or wrong; of how many questions."""
    if "accuracy" in entry and "interval_95" in entry:
        low, high = map(_percent, entry["interval_95"])
        text = f"{_percent(entry['accuracy'])} ({low}{_GLUE}to{_GLUE}{high})"
    else:
        metrics = entry.get("metrics", {})
        text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    return f"{text}, n{_GLUE}={_GLUE}{entry['n']}"


def _cost(group: Group) -> Markup:
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
    return _part("rows", header, lines) if lines else Markup("")


def _data(group: Group) -> Markup:
    """The audit of each method's first run, where they differ; else the first one's."""
    lines: list[list[str]] = []
    for label, folders in group.run_folders.items():
        if folders and (path := folders[0] / runs.AUDIT).is_file():
            audit = runs.read_as(path, runs.Audit)
            remarks = [*audit["problems"], *audit["notes"]]
            figures = [audit["num_examples"], audit["num_supervised"], audit["num_tokens"]]
            line = [*map(str, figures), "; ".join(remarks) or "nothing lost"]
            if line not in [other[1:] for other in lines]:
                lines.append([label if lines else "training data", *line])
    header = ["", "examples", "supervised tokens", "tokens", "what was found"]
    return _part("rows", header, lines) if lines else Markup("")


def _answers(group: Group) -> Markup:
    """The same prompts under each method's first run, where they disagree first."""
    by_id: dict[str, dict[str, Any]] = {}
    for label, folders in group.run_folders.items():
        path = folders[0] / runs.ANSWERS if folders else Path()
        for row in runs.read_jsonl(path) if path.is_file() else ():
            if row.get("sample", 0) == 0 and {"id", "prompt", "output"} <= row.keys():
                prompt = by_id.setdefault(str(row["id"]), {"reference": "", **row, "answers": []})
                prompt["answers"].append(
                    {"label": label, "output": row["output"], "correct": row.get("correct")}
                )
    first = group.results["benchmarks"]["in_domain"] if group.results is not None else []

    def order(prompt: dict[str, Any]) -> tuple[bool, float]:
        share = sum(bool(answer["correct"]) for answer in prompt["answers"])
        return prompt.get("benchmark") not in first, abs(share / len(prompt["answers"]) - 0.5)

    chosen = sorted(by_id.values(), key=order)[:_MOST_PROMPTS]
    return _part("answers", chosen) if chosen else Markup("")


def _runs(group: Group) -> Markup:
    """What the runs' configurations differ in, and what they were made with."""
    folders = [each for kept in group.run_folders.values() for each in kept]
    configs = [
        flattened(runs.read_yaml(each / runs.CONFIG)) if (each / runs.CONFIG).is_file() else {}
        for each in folders
    ]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    differing = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    lines = [
        [each.name, *(config.get(key, "–") for key in differing)]
        for each, config in zip(folders, configs, strict=True)
    ]
    made = flattened(optional_json(folders[0] / runs.ENVIRONMENT)) if folders else {}
    # Where it was started is nothing to hand on with a page.
    made.pop("started_in", None)
    parts = [_part("rows", ["run", *differing], lines)]
    if made:
        parts.append(_part("rows", ["made with", ""], list(made.items())))
    return Markup("").join(parts)


def _mean(values: list[Any], scale: int) -> str:
    """A mean, times a scale, to three digits or to the unit."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return "–"
    mean = scale * sum(numbers) / len(numbers)
    return f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _signed(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text[1:]


def _untuned(results: dict[str, Any], key: str) -> str:
    names = results["benchmarks"].get(key, [key])
    scores = [results["untuned"][name]["accuracy"] for name in names if name in results["untuned"]]
    return _percent(sum(scores) / len(scores)) if scores else ""
