"""What an engine is asked, and what it answers."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, str, int]
"""Benchmark, question and sample: what tells one answer from all others."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One answer that is wanted."""

    benchmark: str

    question: str
    """Its id."""

    sample: int = 0
    """Counts the answers to one question from 0."""

    prompt: str
    """What the model sees."""

    is_rendered: bool = False
    """Whether a chat template made the prompt, with its special tokens; else the tokenizer adds
    those that it puts before a text."""

    stop: tuple[str, ...] = ()
    """Texts that end an answer; they are no part of it."""

    max_new_tokens: int

    temperature: float = 0.0
    """0 takes the likeliest token; above 0 draws from softmax(logits / temperature), uncut."""

    seed: int = 0

    @property
    def key(self) -> Key:
        """What tells this answer from all others."""
        return self.benchmark, self.question, self.sample

    def random_words(self, count: int) -> list[int]:
        """Random words of 32 bits, of this seed, question and sample alone."""
        text = "\0".join((str(self.seed), self.benchmark, self.question, str(self.sample)))
        digest = hashlib.blake2b(text.encode(), digest_size=4 * count).digest()
        return [int.from_bytes(digest[4 * i : 4 * i + 4], "little") for i in range(count)]

    def uniforms(self) -> NDArray[np.float64]:
        """A number in [0, 1) for each position of the answer, the same whatever else is asked."""
        return np.random.Generator(np.random.PCG64(self.random_words(4))).random(
            self.max_new_tokens
        )


def cut(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of its stops."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One generated answer."""

    text: str
    """Without the prompt, special tokens and what stopped it."""

    num_tokens: int
    """Tokens drawn, those of the end among them."""

    truncated: bool
    """Whether the length limit came before an end token or a stop text."""


class Engine(Protocol):
    """What answers requests."""

    def answer(
        self,
        requests: Sequence[Request],
        on_answer: Callable[[Request, Generated], None],
        *,
        done: Collection[Key] = frozenset(),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Answer each request that is not done, telling each answer as soon as it is there.

        `requests` are all that there ever were, so that what is left is answered in the same
        batches as before. False if it stopped, because `should_stop` said so.
        """
        ...
