"""Texts to train a small model on: what it may know by heart, and what it never sees."""

import importlib.util
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otr.demo.training_data import pretraining_texts

END = "<|endoftext|>"
_HELD_OUT_EVERY = 4
_TASK_TEXTS, _NEW_TASK_TEXTS = 12_000, 2_000
_GSM8K = Path(__file__).parent.parent.parent / "shared" / "data" / "gsm8k" / "train.jsonl"
"""Next to the checkout; the benchmark stands without it."""

_MODULES = (
    "argparse calendar cmd configparser copy csv dataclasses decimal difflib enum fractions "
    "functools gettext heapq inspect ipaddress mimetypes optparse pathlib pickle pprint random "
    "shlex shutil statistics string tarfile tempfile textwrap threading tokenize typing uuid "
    "warnings zipfile"
).split()


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One kind of text, split before anything is learnt from it."""

    kind: str
    seen: tuple[str, ...]
    held_out: tuple[str, ...]


def texts() -> list[Texts]:
    """The demo's generated tasks, Python's own library, and GSM8K if it is at hand."""
    known = set(seen := tuple(itertools.islice(pretraining_texts(0), _TASK_TEXTS)))
    fresh = (text for text in pretraining_texts(1) if text not in known)
    tasks = Texts(
        kind="generated tasks",
        seen=seen,
        held_out=tuple(itertools.islice(fresh, _NEW_TASK_TEXTS)),
    )
    kinds = [tasks, _split("Python's library", [_source(module) for module in _MODULES])]
    if _GSM8K.is_file():
        rows = map(json.loads, _GSM8K.read_text("utf-8").splitlines())
        problems = [f"{row['question']}\n{row['answer']}" for row in rows]
        kinds.append(_split("GSM8K", problems))
    return kinds


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    return Path(spec.origin).read_text("utf-8")


def _split(kind: str, pieces: Sequence[str]) -> Texts:
    return Texts(
        kind=kind,
        seen=tuple(piece for index, piece in enumerate(pieces) if index % _HELD_OUT_EVERY),
        held_out=tuple(pieces[::_HELD_OUT_EVERY]),
    )


def byte_level_tokenizer(kinds: Iterable[Texts], vocabulary: int) -> Any:
    """A byte-level BPE of at most `vocabulary` words, from the texts that are not held out."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for kind in kinds for text in kind.seen), trainer)
    return tokenizer


def sequences(
    tokenizer: Any, pieces: Iterable[str], *, length: int, at_most: int
) -> list[list[int]]:
    """The first texts, an end token after each, cut into sequences of `length` tokens."""

    def tokens() -> Iterator[int]:
        end = tokenizer.token_to_id(END)
        assert end is not None
        for piece in pieces:
            yield from tokenizer.encode(piece).ids
            yield end

    stream = tokens()
    found: list[list[int]] = []
    while len(found) < at_most:
        sequence = list(itertools.islice(stream, length))
        if len(sequence) < length:
            break
        found.append(sequence)
    return found
