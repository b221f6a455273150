"""Rendered text as token ids and labels."""

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.lm_head import IGNORED
from otr.pretrained import special_texts
from otr.training.rendering import Rendering, letters

# Few texts join to one token with these; the likeliest to stay apart comes first.
CONTEXTS = ("\n", ":", "]", "0", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training example of T tokens."""

    input_ids: np.ndarray
    """int32, (T,)."""
    labels: np.ndarray
    """int32, (T,): the token where it is learned, -100 elsewhere."""
    spans: tuple[tuple[int, int], ...]
    """Tokens that are learned, [start, end)."""
    end_token: str
    """The special token that ends the last span; empty if none does."""
    has_unknown: bool
    """Whether an answer holds text that the tokenizer does not know."""
    origin: str

    @property
    def num_learned(self) -> int:
        """Labels that count: the first token of a text is never predicted."""
        return int((self.labels[1:] != IGNORED).sum())


@dataclass(frozen=True)
class Encoder:
    """A tokenizer that also encodes text as the continuation of other text."""

    tokenizer: PreTrainedTokenizerBase

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts that stand at the beginning, without special tokens."""
        if not texts:
            return []
        return self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]

    def continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts that follow other text.

        SentencePiece-like tokenizers put a blank before text that stands at the beginning. There,
        a text is encoded after a few words, and the tokens of the words are taken off.
        """
        if not self.adds_blank:
            return self.encode(texts)
        found: list[list[int] | None] = [None] * len(texts)
        for context in CONTEXTS:
            (before,) = self.encode([context])
            missing = [i for i, ids in enumerate(found) if ids is None]
            both = self.encode([context + texts[i] for i in missing])
            for i, ids in zip(missing, both, strict=True):
                if ids[: len(before)] == before:
                    found[i] = ids[len(before) :]
        plain = self.encode(texts)
        return [plain[i] if ids is None else ids for i, ids in enumerate(found)]

    @cached_property
    def adds_blank(self) -> bool:
        """Whether a text has other tokens at the beginning than after other text."""
        newline, text, both = self.encode(["\n", "x", "\nx"])
        return newline + text != both

    @cached_property
    def begin(self) -> list[int]:
        """Tokens that the tokenizer puts before a text of its own accord, such as BOS."""
        (plain,) = self.encode(["x"])
        full = list(self.tokenizer("x")["input_ids"])
        for start in range(len(full)):
            if full[start : start + len(plain)] == plain:
                return full[:start]
        return []

    @cached_property
    def special(self) -> frozenset[int]:
        """The special tokens, the unknown one apart, unless it is the end token too, as GPT-2's."""
        vocabulary = self.tokenizer.get_vocab()
        ids = {vocabulary[text] for text in special_texts(self.tokenizer) if text in vocabulary}
        unknown, end = self.tokenizer.unk_token, self.tokenizer.eos_token
        return frozenset(ids if unknown == end else ids - {vocabulary.get(str(unknown))})

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def encoded(renderings: Sequence[Rendering], encoder: Encoder) -> list[Example]:
    """Renderings as examples; what leads to an answer is tokenized apart from the answer.

    So an answer has the tokens that follow its prompt in generation, also where a later answer is
    learned in the same example.

    Raises: UserError naming the row if the tokens of an answer do not decode to it.
    """
    heads = [rendering.text[: rendering.spans[0][0]] for rendering in renderings]
    head_ids = encoder.encode(heads)
    pieces = [piece for rendering in renderings for piece in _pieces(rendering)]
    wholes = _piece_ids([(start, answer + rest) for start, answer, rest in pieces], encoder)
    # Where no text follows the answer, the whole piece is the answer.
    shorter = iter(_piece_ids([(start, answer) for start, answer, rest in pieces if rest], encoder))
    answers = [
        next(shorter) if rest else whole for (_, _, rest), whole in zip(pieces, wholes, strict=True)
    ]
    examples, first = [], 0
    for rendering, head, ids in zip(renderings, heads, head_ids, strict=True):
        chosen = slice(first, first + len(rendering.spans))
        first = chosen.stop
        ids, spans = _joined(
            ids if head else [], pieces[chosen], wholes[chosen], answers[chosen], encoder
        )
        examples.append(_example(rendering, ids, spans, encoder))
    return examples


Piece = tuple[int, str, str]
"""Where an answer starts in the text, the answer, and the text up to the next answer."""


def _pieces(rendering: Rendering) -> list[Piece]:
    starts = [start for start, _ in rendering.spans]
    stops = [*starts[1:], len(rendering.text)]
    return [
        (start, rendering.text[start:end], rendering.text[end:stop])
        for (start, end), stop in zip(rendering.spans, stops, strict=True)
    ]


def _piece_ids(pieces: Sequence[tuple[int, str]], encoder: Encoder) -> list[list[int]]:
    first = iter(encoder.encode([text for start, text in pieces if start == 0]))
    later = iter(encoder.continuations([text for start, text in pieces if start > 0]))
    return [next(later if start else first) for start, _ in pieces]


def _joined(
    ids: list[int],
    pieces: Sequence[Piece],
    wholes: Sequence[list[int]],
    answers: Sequence[list[int]],
    encoder: Encoder,
) -> tuple[list[int], list[tuple[int, int]]]:
    ids, spans = list(ids), []
    for (_, _, rest), whole, answer in zip(pieces, wholes, answers, strict=True):
        spans.append((len(ids), len(ids) + len(answer)))
        if whole[: len(answer)] != answer:
            # A token straddles the end of the answer.
            whole = answer + encoder.continuations([rest])[0]
        ids += whole
    return ids, spans


def _example(
    rendering: Rendering, ids: list[int], spans: list[tuple[int, int]], encoder: Encoder
) -> Example:
    has_unknown = _check_answers(rendering, ids, spans, encoder)
    if rendering.adds_begin and ids[: len(encoder.begin)] != encoder.begin:
        ids = encoder.begin + ids
        spans = [(start + len(encoder.begin), end + len(encoder.begin)) for start, end in spans]
    holes = _holes(rendering, ids, spans, encoder)
    if rendering.adds_end:
        end_id = encoder.tokenizer.eos_token_id
        assert spans[-1][1] == len(ids) and isinstance(end_id, int)
        ids = [*ids, end_id]
        spans[-1] = (spans[-1][0], len(ids))
    input_ids = np.asarray(ids, dtype=np.int32)
    labels = np.full_like(input_ids, IGNORED)
    for start, end in spans:
        labels[start:end] = input_ids[start:end]
    for start, end in holes:
        labels[start:end] = IGNORED
    last = ids[spans[-1][1] - 1]
    return Example(
        input_ids=input_ids,
        labels=labels,
        spans=tuple(spans),
        end_token=encoder.decode([last]) if last in encoder.special else "",
        has_unknown=has_unknown,
        origin=rendering.origin,
    )


def _check_answers(
    rendering: Rendering, ids: list[int], spans: list[tuple[int, int]], encoder: Encoder
) -> bool:
    """Check that the tokens of each answer decode to it; whether unknown tokens stand in."""
    has_unknown = False
    for (start, end), (first, last) in zip(rendering.spans, spans, strict=True):
        expected, found = rendering.text[start:end], encoder.decode(ids[first:last])
        if found == expected or letters(found) == letters(expected):
            continue
        if encoder.tokenizer.unk_token_id not in ids[first:last]:
            raise UserError(
                f"{rendering.origin}: the tokens of the answer decode to {found[:60]!r}, not to "
                f"{expected[:60]!r}: the tokenizer does not keep this text; correct or remove "
                "the row, or choose a model with another tokenizer"
            )
        has_unknown = True
    return has_unknown


def _holes(
    rendering: Rendering, ids: list[int], spans: list[tuple[int, int]], encoder: Encoder
) -> list[tuple[int, int]]:
    """The tokens of answers that hold some of what is not learned, more than a blank.

    Raises: UserError naming the row if the tokens of such an answer do not decode to it.
    """
    holes = []
    for (start, end), (first, last) in zip(rendering.spans, spans, strict=True):
        within = [
            (max(left, start) - start, min(right, end) - start)
            for left, right in rendering.unlearned
            if max(left, start) < min(right, end)
        ]
        if not within:
            continue
        answer, tokens = rendering.text[start:end], ids[first:last]
        whole = encoder.decode(tokens)
        # Some tokenizers leave out a blank at the beginning of what they decode.
        blanks = len(answer) - len(whole)
        if not answer.endswith(whole) or answer[: max(blanks, 0)].strip():
            raise UserError(
                f"{rendering.origin}: the tokens of an answer that is learned in part decode to "
                f"{whole[:60]!r}, not to {answer[:60]!r}, so the part cannot be found; mark the "
                "whole turn"
            )

        def known(number: int, tokens: list[int] = tokens, text: str = answer[blanks:]) -> int:
            """Characters of the answer that its first tokens hold whole."""
            return len(os.path.commonprefix([encoder.decode(tokens[:number]), text]))

        for left, right in within:
            hole = max(left - blanks, 0), right - blanks
            begin, stop = _hole(hole, answer[blanks:], len(tokens), known)
            holes.append((first + begin, first + stop))
    return holes


def _hole(
    characters: tuple[int, int], text: str, num_tokens: int, known: Callable[[int], int]
) -> tuple[int, int]:
    """The tokens that hold some of a text's characters, those apart that hold blanks of them at most:
    most tokenizers join a blank to the word that follows it."""
    left, right = characters
    begin = bisect_left(range(num_tokens), left, key=known)
    # The token that ends after the first character holds some of what is left out.
    begin -= begin > 0 and bool(text[left : min(known(begin), right)].strip())
    stop = bisect_left(range(num_tokens), right, key=known)
    if known(stop) > right and not text[max(known(stop - 1), left) : right].strip():
        stop -= 1
    return begin, max(begin, stop)
