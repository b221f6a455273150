"""The token view: what each objective makes of single tokens, as a section of a page.

Reads the value of tokens.json, described in `otr.training.inspection`. Shades are classes, since
the page's policy refuses style attributes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from otr.report.page import Section, asset, environment, page
from otr.runs import write_text
from otr.terminal import visible

_SHADES = 10
_LONGEST_IN_STRIP, _LONGEST = 24, 200
_BLANK = Markup('<span class="tv-blank">·</span>')
# Narrowest strip in characters; a line may be half empty before a long token.
_FEWEST_CHARACTERS = 12

_FEW_TOKENS = 40

_LEAST = 1e-15
"""Less is rounding."""

_MINUS = "\u2212"


def section(
    tokens: dict[str, Any], *, id: str = "tokens", title: str = "Token by token"
) -> Section:
    """The token view as a section of a page: strips, the panel of one token, tables of all."""
    html = (
        environment()
        .get_template("token_view.html")
        .render(
            views=[_view(example, f"{id}-{n}") for n, example in enumerate(tokens["examples"])],
            model=visible(tokens["model"]),
            source=visible,
            number=number,
            word=shown_word,
        )
    )
    return Section(
        id=id,
        title=title,
        html=Markup(html),
        styles=asset("token_view.css"),
        scripts=asset("token_view.js"),
    )


def write_tokens_page(tokens: dict[str, Any], output: Path) -> None:
    """Write the token view as a page of its own, one file that needs nothing else, whole or not at
    all."""
    heading = f"Token view of {visible(tokens['model'])}"
    text = page(heading, [section(tokens, title="What each objective teaches")])
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, text)


def number(value: float | None, digits: int = 3) -> str:
    """A number of few digits, with a true minus sign; a dash for none."""
    if value is None:
        return "–"
    if abs(value) < _LEAST:
        return "0"
    if abs(value) < 0.5 * 10**-digits:
        mantissa, exponent = f"{value:.0e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        text = f"{value:.{digits}f}"
    return text.replace("-", _MINUS)


def shown_word(text: str, longest: int = _LONGEST) -> Markup:
    """A token's text, its blanks visible, cut where it is long."""
    text = visible(text)
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return Markup("<bdi>{}</bdi>").format(_BLANK.join(escape(part) for part in text.split(" ")))


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One objective's mark under a token."""

    shade: str
    mark: str
    """A cross where no rollout hit."""


@dataclass(frozen=True, kw_only=True)
class _Token:
    """A token in the text; the cells only where it is supervised."""

    word: Markup
    ends_line: bool
    card: "_Card | None" = None
    cells: Sequence[_Cell] = ()


@dataclass(frozen=True, kw_only=True)
class _Card:
    """What is said of one supervised token."""

    id: str
    position: int
    token: dict[str, Any]
    reading: str
    """What the rollouts did, in words."""
    rows: Sequence[dict[str, Any]]
    """Of the table of tokens."""
    rollout: dict[str, Any] | None
    """The entry of the first objective that has a rollout policy."""
    num_rollouts: int | None
    summary: str
    """For those who hear the page."""


@dataclass(frozen=True, kw_only=True)
class _View:
    """One example."""

    example: dict[str, Any]
    objectives: Sequence[dict[str, Any]]
    legend: str
    stretches: Sequence[tuple[bool, Sequence[_Token]]]
    """Stretches of text, and whether each is supervised."""
    cards: Sequence[_Card]
    first: _Card
    """The token shown until another is chosen: where the objectives differ most."""
    is_short: bool
    """Whether the chosen token has its place below the strip rather than beside it."""
    num_lines: int
    """No strip has more lines than this."""


def _view(example: dict[str, Any], prefix: str) -> _View:
    objectives = example["objectives"]
    tokens = [
        _token(token, position, objectives, f"{prefix}-{position}")
        for position, token in enumerate(example["tokens"])
    ]
    cards = [token.card for token in tokens if token.card is not None]
    stretches = [
        (is_supervised, tuple(among))
        for is_supervised, among in groupby(tokens, key=lambda token: token.card is not None)
    ]
    return _View(
        example=example,
        objectives=objectives,
        legend=_legend(objectives),
        stretches=stretches,
        cards=cards,
        first=max(cards, key=_disagreement),
        is_short=len(cards) <= _FEW_TOKENS,
        num_lines=max((_num_lines(among) for is_on, among in stretches if is_on), default=1),
    )


def _token(
    token: dict[str, Any], position: int, objectives: Sequence[dict[str, Any]], id: str
) -> _Token:
    word = shown_word(token["text"], _LONGEST_IN_STRIP)
    if not token["supervised"]:
        return _Token(word=word, ends_line=token["ends_line"])
    rollout, num_rollouts = _rollout(token, objectives)
    card = _Card(
        id=id,
        position=position,
        token=token,
        reading=_reading(token, rollout, num_rollouts, objectives),
        rows=tuple(_word_rows(token, rollout)),
        rollout=rollout,
        num_rollouts=num_rollouts,
        summary=_summary(token, objectives),
    )
    cells = tuple(_cell(entry) for entry in token["objectives"])
    return _Token(word=word, ends_line=token["ends_line"], card=card, cells=cells)


def _rollout(
    token: dict[str, Any], objectives: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any] | None, int | None]:
    """The entry that tells q and the draws, of one that draws if there is one, and its K."""
    pairs = list(zip(token["objectives"], objectives, strict=True))
    for wanted in ("hits", "q"):
        for entry, objective in pairs:
            if entry[wanted] is not None:
                return entry, objective["num_rollouts"]
    return None, None


def _cell(entry: dict[str, Any]) -> _Cell:
    weight = entry["weight"]
    shade = f"tv-w{min(_SHADES, round(_SHADES * weight))}" if weight >= 0 else "tv-below"
    # A weight that is there must not look like none.
    if 0 < weight < 0.5 / _SHADES:
        shade = "tv-faint"
    on_others = entry["total_weight"] - weight
    if on_others < -5e-4:
        shade += " tv-d3" if on_others < -0.05 else " tv-d2" if on_others < -0.01 else " tv-d1"
    return _Cell(shade=shade, mark="×" if entry["hits"] == 0 else "")


def _reading(
    token: dict[str, Any],
    entry: dict[str, Any] | None,
    num_rollouts: int | None,
    objectives: Sequence[dict[str, Any]],
) -> str:
    if entry is None or num_rollouts is None:
        return ""
    name = objectives[token["objectives"].index(entry)]["label"]
    hits, misses = entry["hits"], num_rollouts - entry["hits"]
    if hits == num_rollouts:
        return f"Every one of {name}'s {num_rollouts} rollouts hit this token."
    drawn = [
        (count, word["text"])
        for count, word in zip(entry["draws"], token["words"], strict=True)
        if count and not word["is_label"]
    ]
    count, favourite = max(drawn, default=(0, ""))
    num_wrong = len(drawn) + entry["others"]["num_drawn"]
    others = f"{num_wrong} different tokens" if num_wrong > 1 else "one other token"
    often = (
        f", “{visible(favourite).strip() or favourite}” {count} times"
        if count > misses / 2 and num_wrong > 1
        else ""
    )
    if hits:
        instead = f"the other {misses} sampled {others}{often}"
        return f"{hits} of {name}'s {num_rollouts} rollouts hit this token; {instead}."
    reading = (
        f"None of {name}'s {num_rollouts} rollouts hit this token, so it gets no weight; they sampled "
        f"{others}{often}."
    )
    if any(objective["objective"]["name"] == "sft" for objective in objectives):
        reading += " SFT teaches it like any other."
    return reading


def _word_rows(token: dict[str, Any], rollout: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    for index, word in enumerate(token["words"]):
        q = rollout["qs"][index] if rollout else None
        draws = rollout["draws"][index] if rollout and rollout["draws"] else None
        yield {
            "word": shown_word(word["text"], _LONGEST_IN_STRIP),
            "is_label": word["is_label"],
            "p": word["p"],
            "p_bar": _bar(word["p"]),
            "q": q,
            "q_bar": _bar(q or 0.0),
            "draws": draws,
            "pushes": [_push(entry["pushes"][index]) for entry in token["objectives"]],
        }
    others = rollout["others"] if rollout else {}
    yield {
        "word": f"{token['others']['num_words']:,} other tokens",
        "is_label": False,
        "p": token["others"]["p"],
        "p_bar": _bar(token["others"]["p"]),
        "q": others.get("q"),
        "q_bar": _bar(others.get("q", 0.0)),
        "draws": others.get("draws"),
        "pushes": [_push(entry["others"]["push"]) for entry in token["objectives"]],
    }


def _push(push: float) -> tuple[str, str]:
    """A class by direction and strength, and the number with an arrow."""
    if abs(push) < 0.0005:
        return "", "0"
    kind = "tv-up" if push > 0 else "tv-down"
    strength = " tv-strong" if abs(push) >= 0.05 else ""
    return kind + strength, f"{'▲' if push > 0 else '▼'} {number(abs(push))}"


def _bar(share: float) -> str:
    """A class whose width is the share, in steps of 5 %; empty for next to nothing."""
    return f"tv-b{max(1, round(20 * share))}" if share >= 0.005 else ""


def _summary(token: dict[str, Any], objectives: Sequence[dict[str, Any]]) -> str:
    parts = [f"{visible(token['text'])}: probability {number(token['p'])}"]
    for entry, objective in zip(token["objectives"], objectives, strict=True):
        hits = "" if entry["hits"] is None else f", {entry['hits']} of {objective['num_rollouts']}"
        parts.append(f"{objective['label']} weight {number(entry['weight'])}{hits}")
    return "; ".join(parts)


def _disagreement(card: _Card) -> float:
    pushes = [entry["push"] for entry in card.token["objectives"]]
    return max(pushes) - min(pushes)


def _num_lines(tokens: Sequence[_Token]) -> int:
    widths = [len(Markup(token.word).striptags()) + 1 for token in tokens]
    return ceil(sum(widths) / _FEWEST_CHARACTERS) + sum(token.ends_line for token in tokens) + 1


def _legend(objectives: Sequence[dict[str, Any]]) -> str:
    clauses = {}
    for each in objectives:
        options = each["objective"]
        clauses[options["name"]] = {
            "sft": "SFT teaches every token alike",
            "dft": "DFT teaches a token in proportion to the probability that the model gives it already",
            "otr": "OTR in proportion to how often the model's own rollouts hit it"
            + (
                ", with a weight below 0 on what was sampled instead"
                if options.get("wrong_reward", 0) < 0
                else ""
            ),
        }.get(options["name"])
    sentence = "; ".join(filter(None, clauses.values()))
    return f"{sentence}." if sentence else ""
