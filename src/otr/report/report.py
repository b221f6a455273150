"""One HTML page from run and study folders: the verdict first, then what it rests on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from markupsafe import Markup

from otr import runs
from otr.errors import UserError
from otr.report import run_sections
from otr.report.curves import curve_figures
from otr.report.figures import (
    GROUPS,
    difference_figures,
    looks,
    sensitivity_figure,
    trade_off_figures,
)
from otr.report.folders import Group, metrics, objective_name, read_groups
from otr.report.looks import Look, looks_of
from otr.report.page import Section, asset, page
from otr.report.parts import clean, clean_name, drawn, part
from otr.report.token_view import section as token_section
from otr.report.verdict_table import groups_of, part_of

_MOST_NAMED = 5
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
        title = clean_name(_title(group)) if len(groups) > 1 else ""
        sections += [replace(each, part=title) for each in _whole_sections(group, prefix)]
    studies = {f"g{number}-verdict": each for number, each in enumerate(groups) if each.results}
    if len(studies) > 1:
        sections.insert(0, _overview(studies))
    output.parent.mkdir(parents=True, exist_ok=True)
    runs.write_text(output, page(clean_name(_page_title(groups)), sections))


def _page_title(groups: Sequence[Group]) -> str:
    """What is compared."""
    if len(groups) == 1:
        return _title(groups[0])
    labels = {tuple(each.run_folders) for each in groups if each.results is not None}
    num_studies = sum(each.results is not None for each in groups)
    what = _list(next(iter(labels))) if len(labels) == 1 else "Objectives"
    return f"{what} in {num_studies} studies" if num_studies > 1 else "; ".join(map(_title, groups))


def _title(group: Group) -> str:
    """What a group's runs compare; the study's title, unless it is only the folder's name."""
    results = group.results
    if results is not None and results["title"] == results["name"]:
        return f"{_list(list(group.run_folders))} on {results['model']}"
    if results is not None or group.folder is not None:
        return group.title
    return f"{'Runs' if len(group.run_folders) > 1 else 'Run'} {_list(list(group.run_folders))}"


def _list(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{len(names)} methods"
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


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
            "otr compare writes them again"
        ) from error


def _overview(studies: dict[str, Group]) -> Section:
    """The verdicts of several studies in one table, each with a link to its own."""
    results = {link: each.results for link, each in studies.items() if each.results is not None}
    groups = groups_of(list(results.values()))
    parts = [
        part_of(each, list(groups), title=_title(studies[link]), link=link)
        for link, each in results.items()
    ]
    return Section(id="verdicts", title="Verdicts", html=part("verdict_table", groups, parts))


def _study_sections(results: dict[str, Any], prefix: str) -> list[tuple[str, str, Markup]]:
    """Of a study: the verdict as a table and a picture, in words, and the numbers behind it."""
    methods = [each | {"label": clean_name(each["label"])} for each in results["methods"]]
    keys = [key for key in GROUPS if any(key in m["scores"] for m in methods)]
    keys += [name for names in results["benchmarks"].values() if len(names) > 1 for name in names]
    groups = groups_of([results])
    table = part("verdict_table", groups, [part_of(results, list(groups))])
    methods_named = clean_name(_list([method["label"] for method in methods]))
    rates = drawn([sensitivity_figure(methods, f"{prefix}rates")], "drawn-alone")
    return [
        (
            "verdict",
            "Verdict",
            part("compared", results, methods_named) + part("lead", results) + table,
        ),
        (
            "trade-off",
            "Learning against forgetting",
            drawn(trade_off_figures(methods, f"{prefix}trade-off")),
        ),
        ("words", "In words", part("verdict", results)),
        (
            "scores",
            "Scores",
            drawn(difference_figures(methods, f"{prefix}differences"), "columns thirds")
            + part("scores", results, keys, {**GROUPS}),
        ),
        ("rates", "Learning rates", rates and _beside(rates, part("rates", methods))),
    ]


def _beside(left: Markup, right: Markup) -> Markup:
    return Markup('<div class="columns">{}<div>{}</div></div>').format(left, right)


def _sections(group: Group, prefix: str) -> list[Section]:
    results = group.results
    curves = {
        clean_name(label): [metrics(each) for each in kept]
        for label, kept in group.run_folders.items()
    }
    found = [] if results is None else _study_sections(results, prefix)
    if results is None:
        found.append(("scores", "Scores", run_sections.scores(group)))
    figures = curve_figures(curves, _looks(group), f"{prefix}curves")
    found += [
        ("curves", "Training", drawn(figures, "columns thirds")),
        ("cost", "Cost", run_sections.cost(group)),
        ("data", "Data", run_sections.data(group)),
        ("answers", "Answers side by side", run_sections.answers(group)),
    ]
    styles, scripts = asset("figures.css"), asset("figures.js")
    sections = [
        Section(id=f"{prefix}{id}", title=title, html=html, styles=styles, scripts=scripts)
        for id, title, html in found
        if html
    ]
    if group.tokens is not None and group.tokens["examples"]:
        sections.append(token_section(group.tokens, id=f"{prefix}tokens"))
    return [*sections, Section(id=f"{prefix}runs", title="Runs", html=run_sections.settings(group))]


def _looks(group: Group) -> list[Look]:
    """The look of each of the group's methods, or runs."""
    if group.results is not None:
        return looks(group.results["methods"])
    names = [
        objective_name(folders[0]) if folders else "" for folders in group.run_folders.values()
    ]
    return looks_of(names, ["" for _ in names])
