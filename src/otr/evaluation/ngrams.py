"""Where texts come back in other texts: exact stretches of words, by their hashes.

Letter case, punctuation, blanks and Unicode's compatibility forms do not count. A text that is
looked for is

    copied       if all its words stand together and in order in one row (of 4 words or more);
    near         if more than half of its words lie in stretches of 8 that one row has too
                 (of 8 words or more);
    overlapping  if it shares 13 words in a row with some row.

Sources: 13 words, GPT-3, arXiv:2005.14165, appendix C; 8 words and a half, Tülu 3,
arXiv:2411.15124. Ours are the 4 words, and that in a stretch of 8 of a question any number may stand
for another, where at least half of it are words.

A hash has 64 bits: with 5 million stretches looked for and 1,000 million read, one that is taken
for another is to be expected in about one scan of 300, each word being looked up 12 times.

Shapes: N texts looked for, M stretches of them, C known words, W words read at once, H hits.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

LONG, SHORT, LEAST = 13, 8, 4
"""Words of a stretch that is shared, that counts as near, and of the shortest text that can be
told to be copied."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_UNKNOWN, _NUMBER = 0, 1
_EXCERPT = 160
_AT_ONCE = 1 << 16
_ODD = np.random.default_rng(1).integers(0, 2**64, LONG, np.uint64) | np.uint64(1)


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, letter case and Unicode's compatibility forms apart."""
    if text.isascii():
        return _WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A text to look for."""

    text: str

    least_words: int = LEAST
    """How many words it must have to be looked for at all."""

    any_number: bool = True
    """Whether a row with other numbers can be near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The row in which most of a text's words are found."""

    origin: str
    excerpt: str
    """The row's own words, from the first that is shared."""
    num_words: int
    """How many of the text's words lie in shared stretches."""
    is_copy: bool


class _Codes(dict[str, int]):
    """Words as numbers; those that no text has are not kept."""

    def __missing__(self, word: str) -> int:
        return _NUMBER if word[0].isdecimal() else _UNKNOWN


@dataclass(frozen=True, slots=True)
class _Table:
    """M hashes and what each belongs to."""

    hashes_M: np.ndarray
    owners_M: np.ndarray
    seen: np.ndarray
    """Whether any hash begins with these bits, which tells most of those asked for apart."""

    @classmethod
    def of(cls, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> "_Table":
        hashes = np.concatenate([np.empty(0, np.uint64), *(first for first, _ in pairs)])
        owners = np.concatenate([np.empty(0, np.int64), *(second for _, second in pairs)])
        order = np.argsort(hashes, kind="stable")
        bits = max(16, (16 * len(hashes)).bit_length())
        seen = np.zeros(1 << bits, bool)
        seen[hashes >> np.uint64(64 - bits)] = True
        return cls(hashes[order], owners[order], seen)

    def find(self, hashes_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """H places of hashes that are known, and what they belong to; one may belong to several."""
        bits = len(self.seen).bit_length() - 1
        places = np.flatnonzero(self.seen[hashes_W >> np.uint64(64 - bits)])
        first = np.searchsorted(self.hashes_M, hashes_W[places], "left")
        num = np.searchsorted(self.hashes_M, hashes_W[places], "right") - first
        steps = np.arange(num.sum()) - np.repeat(np.cumsum(num) - num, num)
        return np.repeat(places, num), self.owners_M[np.repeat(first, num) + steps]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that are read at once, and where the words of each begin."""

    origins: list[str]
    parts: list[Sequence[str]]
    starts: list[int]


class Scan:
    """Looks for texts in one row after another; only a few rows are held at a time.

    After `finish`, `matches` has, by a text's number, the row with most of its words, and
    `overlapping_N` says which share 13 words in a row with any.
    """

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self.words = [words_of(each.text) for each in wanted]
        self.lengths_N = np.array([len(words) for words in self.words], np.int64)
        self.matches: dict[int, Match] = {}
        self.overlapping_N = np.zeros(len(wanted), bool)
        self.num_words = 0
        """Words read so far."""

        self._best_N = np.zeros(len(wanted), np.int64)
        self._copied_N = np.zeros(len(wanted), bool)
        self._starts_N = np.cumsum(self.lengths_N) - self.lengths_N
        self._codes = _Codes()
        for word in chain.from_iterable(self.words):
            self._codes.setdefault(word, len(self._codes) + 2)
        self._exact_C, self._masked_C = self._word_hashes()
        self._whole, self._part, self._masked_part = self._tables(wanted)
        self._sizes = {min(len(words), LONG) for words in self.words}
        self._clear()

    def _word_hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """A random number for each known word; and the same with one for all numbers."""
        exact_C = np.random.default_rng(0).integers(0, 2**64, len(self._codes) + 2, np.uint64)
        masked_C = exact_C.copy()
        for word, code in self._codes.items():
            if word[0].isdecimal():
                masked_C[code] = exact_C[_NUMBER]
        return exact_C, masked_C

    def _tables(self, wanted: Sequence[Wanted]) -> tuple[_Table, _Table, _Table]:
        whole, part, masked_part = [], [], []
        for number, (each, words) in enumerate(zip(wanted, self.words, strict=True)):
            if len(words) < each.least_words:
                continue
            codes = self._coded(words)
            *_, (_, hashes) = _stretches(self._exact_C[codes], LONG)
            whole.append((hashes, np.full(len(hashes), number)))
            if len(words) >= SHORT:
                positions = self._starts_N[number] + np.arange(len(words) - SHORT + 1)
                told = each.any_number & _are_told_by_words(words)
                for values_C, which, table in (
                    (self._masked_C, told, masked_part),
                    (self._exact_C, ~told, part),
                ):
                    *_, (_, hashes) = _stretches(values_C[codes], SHORT)
                    table.append((hashes[which], positions[which]))
        return _Table.of(whole), _Table.of(part), _Table.of(masked_part)

    def _coded(self, words: Sequence[str]) -> np.ndarray:
        return np.fromiter(map(self._codes.__getitem__, words), np.int64, len(words))

    def _clear(self) -> None:
        self._rows = _Rows([], [], [])
        self._read: list[np.ndarray] = []
        self._num_read = 0

    def read(self, origin: str, parts: Sequence[str]) -> None:
        """Look into one row; a stretch lies within one of its parts."""
        self._rows.origins.append(origin)
        self._rows.parts.append(parts)
        self._rows.starts.append(self._num_read)
        for part in parts:
            codes = self._coded(words_of(part))
            # An unknown word after each part, since no stretch goes over it.
            self._read += [codes, np.array([_UNKNOWN])]
            self._num_read += len(codes) + 1
            self.num_words += len(codes)
        if self._num_read >= _AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Look into the rows that were read last."""
        if self._read:
            codes = np.concatenate(self._read)
            for size, hashes in _stretches(self._exact_C[codes], LONG):
                if size in self._sizes:
                    self._note_wholes(size, *self._whole.find(hashes))
            found = []
            for values_C, table in (
                (self._exact_C, self._part),
                (self._masked_C, self._masked_part),
            ):
                found += [
                    table.find(hashes)
                    for size, hashes in _stretches(values_C[codes], SHORT)
                    if size == SHORT
                ]
            if found:
                self._note_near(*map(np.concatenate, zip(*found, strict=True)))
        self._clear()

    def _note_wholes(self, size: int, places_H: np.ndarray, numbers_H: np.ndarray) -> None:
        """Take note of stretches of 13 words, and of shorter texts as a whole."""
        if size == LONG:
            self.overlapping_N[numbers_H] = True
        whole = (self.lengths_N[numbers_H] == size) & ~self._copied_N[numbers_H]
        for place, number in zip(places_H[whole].tolist(), numbers_H[whole].tolist(), strict=True):
            self._keep(number, place, size, is_copy=True)

    def _note_near(self, places_H: np.ndarray, positions_H: np.ndarray) -> None:
        """Count, for each pair of a row and a text, the text's words in stretches of 8."""
        if not len(positions_H):
            return
        rows_H = np.searchsorted(self._rows.starts, places_H, "right") - 1
        total = int(self.lengths_N.sum())
        covered = (rows_H * total + positions_H)[:, None] + np.arange(SHORT)
        covered = np.unique(covered)
        owners = np.searchsorted(self._starts_N, covered % total, "right") - 1
        pairs, num_words = np.unique(
            covered // total * len(self.words) + owners, return_counts=True
        )
        numbers = pairs % len(self.words)
        is_whole = num_words == self.lengths_N[numbers]
        is_news = (num_words > self._best_N[numbers]) | (is_whole & ~self._copied_N[numbers])
        if not is_news.any():
            return
        owners_H = np.searchsorted(self._starts_N, positions_H, "right") - 1
        pairs_H, first_H = np.unique(rows_H * len(self.words) + owners_H, return_index=True)
        at = np.searchsorted(pairs_H, pairs[is_news])
        for number, place, num in zip(
            numbers[is_news].tolist(),
            places_H[first_H[at]].tolist(),
            num_words[is_news].tolist(),
            strict=True,
        ):
            is_copy = num == len(self.words[number]) and self._is_copy(number, place)
            if is_copy or num > self._best_N[number]:
                self._keep(number, place, num, is_copy=is_copy)

    def _row_at(self, place: int) -> int:
        return int(np.searchsorted(self._rows.starts, place, "right")) - 1

    def _is_copy(self, number: int, place: int) -> bool:
        text = f" {' '.join(self.words[number])} "
        parts = self._rows.parts[self._row_at(place)]
        return any(text in f" {' '.join(words_of(part))} " for part in parts)

    def _keep(self, number: int, place: int, num_words: int, *, is_copy: bool) -> None:
        if self._copied_N[number]:
            return
        self._best_N[number], self._copied_N[number] = num_words, is_copy
        row = self._row_at(place)
        self.matches[number] = Match(
            origin=self._rows.origins[row],
            excerpt=_from_word(self._rows.parts[row], place - self._rows.starts[row]),
            num_words=num_words,
            is_copy=is_copy,
        )


def _are_told_by_words(words: Sequence[str]) -> np.ndarray:
    """Whether at least half of each stretch of 8 are words of two letters or more: with other
    numbers in their places, sums and formulas are all alike."""
    is_word = np.array([len(word) > 1 and not word[0].isdecimal() for word in words])
    return np.convolve(is_word, np.ones(SHORT, int), "valid") >= SHORT // 2


def _stretches(values_W: np.ndarray, longest: int) -> Iterator[tuple[int, np.ndarray]]:
    """The hashes of all stretches of 1, 2, … `longest` words, as far as there are so many."""
    hashes = values_W * _ODD[0]
    for size in range(1, min(longest, len(values_W)) + 1):
        if size > 1:
            hashes = hashes[:-1] + values_W[size - 1 :] * _ODD[size - 1]
        yield size, hashes


def _from_word(parts: Sequence[str], number: int) -> str:
    """The beginning of what follows a word of a row, whose words are counted over its parts."""
    for part in parts:
        num_words = len(words_of(part))
        if number < num_words:
            found = next(islice(_WORD.finditer(part), number, None), None)
            return part[found.start() if found else 0 :][:_EXCERPT]
        number -= num_words + 1
    return ""
