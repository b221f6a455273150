"""What the data becomes, before anything is trained: counts, losses, the first example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from otr.demo.tokenizer import CHAT_TEMPLATE
from otr.lm_head import IGNORED
from otr.pretrained import special_texts
from otr.terminal import visible
from otr.training.marks import looks_like_a_mark
from otr.training.tokens import TokenReport

if TYPE_CHECKING:
    from datasets import Dataset

QUANTILES = (0, 25, 50, 75, 95, 100)
LEARNED = "learn | "
CONTEXT = "      | "
GREEN, PLAIN = "\033[32m", "\033[0m"
LONGEST_LINE = 160
MOST_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What `otr check` says about the data."""

    report: TokenReport
    quantiles: tuple[int, ...]
    """Tokens of an example at 0, 25, 50, 75, 95 and 100 percent, before any cut."""
    end_token: str
    """The tokenizer's end token; empty if it has none."""
    pad_is_end: bool
    """Whether padding and the end token are the same; the end token is learned all the same."""
    template_unused: bool
    """Whether the model has a chat template, and the data are plain prompts and completions."""
    first: tuple[tuple[bool, str], ...]
    """The first example: stretches of text, and whether each is learned."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What would silently lose something, were it not said here; a line each."""
        report = self.report
        limit = f"training.max_length={report.max_length}"
        lost = (
            (report.lost_answer, f"lost an answer to {limit}; raise it"),
            (report.lost_end, f"lost the end token to {limit}; raise it"),
            (report.unsupervised, "dropped, with nothing to learn; remove them from the data"),
            (
                report.without_end,
                "no end token after the answer, so the model would not learn to stop; choose "
                "another template with training.chat_template_path",
            ),
            (report.unknown, "an answer holds text that the tokenizer does not know"),
            (report.reasoning_left_out, "the chat template leaves out the reasoning"),
            (report.tools_left_out, "the chat template leaves out tools"),
            (report.messages_left_out, "the chat template leaves out messages"),
            (report.double_begin, "two begin tokens; remove the one in the data"),
            (
                report.negative,
                "`label` or `kto_tag` is false, so it is a bad answer, and would be learned as a good "
                "one; remove it from the data, or set data.ignore",
            ),
            (
                report.context_left_out,
                "has a `history` or system text that is not read, so that the answer would be learned "
                "without it; write conversations, name the column in data.prompt, or in data.ignore",
            ),
        )
        return (
            *(_counted(rows, what) for rows, what in lost if rows),
            *(
                f"{_unread(key, rows)}, though it is named like a mark of what is not to be learned; "
                "write one that docs/data.md lists, or set data.ignore"
                for key, rows in report.unread.items()
                if looks_like_a_mark(key.partition(": ")[2])
            ),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing, and lost nothing unasked; a line each."""
        report = self.report
        known = (
            (report.dropped, f"dropped, longer than training.max_length={report.max_length}"),
            (report.cut, f"cut to training.max_length={report.max_length}"),
            (report.split, "split, since the template rewrites earlier turns"),
            (report.duplicates, "exact copy of an earlier one, kept"),
            (report.masked, "left out, since a column marks it as not learned"),
            (
                report.nulls_left_out,
                "nulls in tools or arguments left out, since this format does not tell them from "
                "missing fields; write tools and arguments as JSON text, or the data as .jsonl, to "
                "keep them",
            ),
        )
        notes = [_counted(rows, what) for rows, what in known if rows]
        if report.ignored_columns:
            notes.append(f"columns not used: {visible(', '.join(report.ignored_columns))}")
        notes += [
            _unread(key, rows)
            for key, rows in report.unread.items()
            if not looks_like_a_mark(key.partition(": ")[2])
        ]
        others = {token: n for token, n in report.end_tokens.items() if token != self.end_token}
        for token, number in others.items():
            notes.append(
                f"{number} end with {visible(token)}, while the tokenizer's end token is "
                f"{visible(self.end_token) or '(none)'}: generation has to stop at "
                f"{visible(token)} too"
            )
        if self.template_unused:
            notes.append(
                "the model has a chat template, which plain prompts and completions do not use; to "
                "train it as a chat asks it, write conversations: a column `messages` with role and "
                "content (docs/data.md)"
            )
        if self.pad_is_end:
            notes.append("padding is the end token; the end token is learned all the same")
        return tuple(notes)

    def as_json(self) -> dict[str, Any]:
        """The figures, notes and problems as plain values."""
        report = self.report
        return {
            "kind": report.kind,
            "num_examples": report.num_examples,
            "num_tokens": report.num_tokens,
            "num_supervised": report.num_supervised,
            "max_length": report.max_length,
            "notes": list(self.notes),
            "problems": list(self.problems),
            "lengths": {
                "min": self.quantiles[0],
                "median": self.quantiles[2],
                "max": self.quantiles[-1],
            },
        }


def audit(dataset: "Dataset", report: TokenReport, tokenizer: PreTrainedTokenizerBase) -> Audit:
    """The audit of what `tokenized_dataset` returned."""
    end = tokenizer.eos_token
    lengths = np.asarray(report.lengths)
    # The nearest real length, so that the numbers are those of examples.
    quantiles = np.percentile(lengths, QUANTILES, method="nearest")
    first = dataset[0]
    shown = tuple(stretches(first["input_ids"], first["labels"], tokenizer))
    return Audit(
        report=report,
        quantiles=tuple(int(length) for length in quantiles),
        end_token=end if isinstance(end, str) else "",
        pad_is_end=end is not None and tokenizer.pad_token == end,
        template_unused=report.kind == "completion" and _lacks_template(shown, tokenizer),
        first=shown,
    )


def _lacks_template(shown: Sequence[tuple[bool, str]], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a chat template, and a prompt does not look rendered by one."""
    # The embedded model is a base model all the same.
    if tokenizer.chat_template in (None, CHAT_TEMPLATE):
        return False
    words = set(special_texts(tokenizer)) - {str(tokenizer.bos_token), str(tokenizer.eos_token)}
    prompts = [text for is_learned, text in shown if not is_learned]
    return not any(word in text for text in prompts for word in words)


def audit_lines(
    found: Audit, *, more_problems: Sequence[str] = (), colour: bool = False
) -> list[str]:
    """The audit, with other problems beside its own, as lines of text; nothing in the data can move
    the cursor or fake a line."""
    report = found.report
    share = report.num_supervised / max(report.num_tokens, 1)
    names = ("min", *(f"{percent}%" for percent in QUANTILES[1:-1]), "max")
    lengths = zip(names, found.quantiles, strict=True)
    limit = "no limit" if report.max_length is None else f"limit {report.max_length}"
    lines = [
        f"rows       {report.num_rows} of {report.kind}, {report.num_examples} examples",
        f"tokens     {report.num_tokens}, {report.num_supervised} learned ({share:.1%})",
        f"lengths    {', '.join(f'{name} {length}' for name, length in lengths)} ({limit})",
    ]
    for token, number in report.end_tokens.items():
        lines.append(f"end token  {visible(token)} ends {number} examples and is learned")
    lines += [f"note       {line}" for line in found.notes]
    lines += [f"PROBLEM    {line}" for line in (*more_problems, *found.problems)]
    lines += ["", f"the first example, {LEARNED.strip(' |')!r} marking what is learned:"]
    return lines + example_lines(found.first, colour=colour)


def stretches(
    input_ids: Sequence[int], labels: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> list[tuple[bool, str]]:
    """The text of T tokens in stretches that are learned as a whole, or not at all."""
    starts = [
        i
        for i in range(len(labels))
        if i == 0 or (labels[i] == IGNORED) != (labels[i - 1] == IGNORED)
    ]
    stops = [*starts[1:], len(labels)]
    return [
        (
            labels[start] != IGNORED,
            str(tokenizer.decode(list(input_ids[start:stop]), clean_up_tokenization_spaces=False)),
        )
        for start, stop in zip(starts, stops, strict=True)
    ]


def example_lines(
    found: Sequence[tuple[bool, str]],
    *,
    colour: bool = False,
    most_lines: int = MOST_LINES,
) -> list[str]:
    r"""An example with a margin that says which lines are learned.

    A line ends where the text has a line break, written \n, and where learning starts or stops.
    """
    lines = []
    for is_learned, text in found:
        for line in text.splitlines(keepends=True):
            shown = visible(line)
            if len(shown) > LONGEST_LINE:
                shown = f"{shown[:LONGEST_LINE]} ... {len(shown) - LONGEST_LINE} characters more"
            shown = f"{LEARNED if is_learned else CONTEXT}{shown}"
            lines.append(f"{GREEN}{shown}{PLAIN}" if colour and is_learned else shown)
    if len(lines) > most_lines:
        # Both the beginning of the prompt and the end of the answer matter.
        half = most_lines // 2
        between = f"      ... {len(lines) - 2 * half} lines more"
        lines = [*lines[:half], between, *lines[-half:]]
    return lines


def _counted(rows: Sequence[str], what: str) -> str:
    """The first of the rows stands for all; a row that was split counts once an example."""
    noun = "example" if len(rows) == 1 else "examples"
    return f"{len(rows)} {noun}: {what} (first: {visible(rows[0])})"


def _unread(key: str, rows: Sequence[str]) -> str:
    """A key that is not read: `name` of a turn, in so many rows."""
    owner, _, name = key.partition(": ")
    noun = "row" if len(rows) == 1 else "rows"
    return (
        f"{visible(name)!r} of a {owner} is not read, in {len(rows)} {noun} (first: "
        f"{visible(rows[0])})"
    )
