"""Which benchmark questions and reference answers stand in training data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from otr.evaluation.benchmark_file import Prompt
from otr.evaluation.benchmarks import load_benchmark, sources_of
from otr.evaluation.ngrams import LEAST, LONG, SHORT, Match, Scan, Wanted
from otr.evaluation.questions import read_questions
from otr.evaluation.sources import Source
from otr.terminal import visible

NUM_WORST = 3
_NEAR, _SHOWN = 0.5, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question or a reference answer as the benchmark's data have it, without our prompt."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A text of a benchmark and the training row that is most like it."""

    asked: Asked
    match: Match
    share: float
    """Of the text's words, those in shared stretches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What a benchmark's questions, or its reference answers, share with the training data."""

    benchmark: str
    kind: str
    """`questions` or `reference answers`."""

    num_texts: int
    num_short: int
    """Too short to be looked for."""

    num_copied: int
    num_near: int
    num_overlapping: int
    """Sharing 13 words in a row with some row, copied or not."""

    worst: tuple[Pair, ...]
    """The pairs that share most, copies first."""

    @property
    def is_found(self) -> bool:
        """Whether any text is copied or near."""
        return self.num_copied + self.num_near > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """What training data share with benchmarks."""

    num_rows: int
    num_words: int
    overlaps: tuple[Overlap, ...]

    def lines(self) -> list[str]:
        """The figures, a PROBLEM for each benchmark that is found, and the worst pairs."""
        lines = [f"rows       {self.num_rows}, of {self.num_words} words"]
        for each in self.overlaps:
            lines += _lines(each)
        found = [each for each in self.overlaps if each.is_found]
        lines += [f"PROBLEM    {_words(each)}" for each in found]
        if not found:
            lines.append("no benchmark text is copied, or nearly copied, in the training data")
        return lines


def contamination(
    benchmarks: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]
) -> Contamination:
    """Look for the benchmarks' questions and reference answers in training rows, each given as what
    names it and its texts. Rows are read one after another and not held.

    Raises: UserError if a benchmark is unknown, named twice, or its data cannot be read.
    """
    groups = [group for source in sources_of(benchmarks) for group in _asked(source)]
    wanted = [_wanted(kind, each) for _, kind, texts in groups for each in texts]
    scan = Scan(wanted)
    num_rows = 0
    for origin, parts in rows:
        scan.read(origin, parts)
        num_rows += 1
    scan.finish()
    overlaps, first = [], 0
    for name, kind, texts in groups:
        overlaps.append(_overlap(name, kind, texts, scan, wanted, first))
        first += len(texts)
    return Contamination(num_rows=num_rows, num_words=scan.num_words, overlaps=tuple(overlaps))


Group = tuple[str, str, list[Asked]]


def _asked(source: Source) -> list[Group]:
    """The questions and the reference answers of a benchmark, with nothing of our prompts."""
    if source.file is None:
        questions = load_benchmark(source).questions
        rows = [(each.id, each.prompt, each.reference) for each in questions]
    else:
        asked = "{question}\n{options}" if "options" in source.file.columns else "{question}"
        file = source.file.model_copy(update={"prompt": Prompt(base=asked)})
        plain = replace(source, file=file)
        rows = [
            (f"{source.name}/{row.id}", row.prompt, row.reference) for row in read_questions(plain)
        ]
    return [
        (source.name, "questions", [Asked(id=id, text=question) for id, question, _ in rows]),
        (source.name, "reference answers", [Asked(id=id, text=answer) for id, _, answer in rows]),
    ]


def _wanted(kind: str, asked: Asked) -> Wanted:
    """Short answers are in all data, and with other numbers so are the steps of many solutions."""
    if kind == "questions":
        return Wanted(text=asked.text)
    return Wanted(text=asked.text, least_words=SHORT, any_number=False)


def _overlap(
    name: str, kind: str, texts: list[Asked], scan: Scan, wanted: Sequence[Wanted], first: int
) -> Overlap:
    numbers = range(first, first + len(texts))
    pairs = [
        Pair(
            asked=texts[number - first],
            match=scan.matches[number],
            share=scan.matches[number].num_words / int(scan.lengths_N[number]),
        )
        for number in numbers
        if number in scan.matches
    ]
    return Overlap(
        benchmark=name,
        kind=kind,
        num_texts=len(texts),
        num_short=sum(
            int(scan.lengths_N[number]) < wanted[number].least_words for number in numbers
        ),
        num_copied=sum(pair.match.is_copy for pair in pairs),
        num_near=sum(_is_near(pair) for pair in pairs),
        num_overlapping=int(scan.overlapping_N[first : first + len(texts)].sum()),
        worst=tuple(sorted(pairs, key=lambda pair: (not pair.match.is_copy, -pair.share)))[
            :NUM_WORST
        ],
    )


def _is_near(pair: Pair) -> bool:
    return not pair.match.is_copy and pair.share > _NEAR


def _words(found: Overlap) -> str:
    return (
        f"{found.benchmark}: of {found.num_texts} {found.kind} {found.num_copied} are copied in the "
        f"training data and {found.num_near} nearly; take these rows out, or report scores without "
        "these questions"
    )


def _lines(found: Overlap) -> list[str]:
    least = LEAST if found.kind == "questions" else SHORT
    short = f"; {found.num_short} of under {least} words not looked for" if found.num_short else ""
    lines = [
        f"{found.benchmark:<10} {found.num_texts} {found.kind}: {found.num_copied} copied, "
        f"{found.num_near} nearly, {found.num_overlapping} share {LONG} words in a row{short}"
    ]
    for pair in found.worst:
        if pair.share < _SHOWN:
            continue
        how = "copied" if pair.match.is_copy else f"{pair.share:.0%} of its words"
        lines += [
            f"           {visible(pair.asked.id)}, {how} in {visible(pair.match.origin)}",
            f"             asked    {_shown(pair.asked.text)}",
            f"             trained  {_shown(pair.match.excerpt)}",
        ]
    return lines


def _shown(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= 100 else line[:99] + "…"
