"""Answers by transformers: batches of similar lengths, padded on the left, with a key-value cache.

What holds: an answer depends on the model, its own prompt, and for sampled ones on the seed, the
question and the number of the sample. Which other prompts share its batch changes its logits by
rounding only, which changes a token where two are that close. An evaluation that goes on does so
in the batches it began with, and then gives the same bits on the same machine.
"""

import gc
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from otr.errors import UserError
from otr.evaluation.requests import Generated, Key, Request
from otr.evaluation.sampling import Choice, Ends

_CACHE_MB = 1024
_MAX_ROWS = 512

OnAnswer = Callable[[Request, Generated], None]
Running = Callable[[int, int, int], None]
"""Told of the batch at work how many answers are not there yet, how many tokens each of them has so
far, and how many it may have."""

Noted = Callable[[str, int, int], None]


class BatchSizes:
    """How many rows a batch has, from which row on, for each list of rows.

    `noted` is told each size when it is chosen, to keep it for a process that goes on.
    """

    def __init__(self, noted: Noted = lambda plan, start, size: None) -> None:
        self._sizes: dict[tuple[str, int], int] = {}
        self._noted = noted

    def restore(self, plan: str, start: int, size: int) -> None:
        """Take over a size that `noted` was told before."""
        self._sizes[plan, start] = size

    def choose(self, plan: str, start: int, size: int) -> None:
        """From this row on, batches have `size` rows."""
        self._sizes[plan, start] = size
        self._noted(plan, start, size)

    def at(self, plan: str, start: int) -> int | None:
        """The size that was chosen at this row, if one was."""
        return self._sizes.get((plan, start))


class TransformersEngine:
    """Answers requests with a model in this process.

    `end_texts` are special tokens that end an answer beside the model's own end tokens.
    Raises: UserError if there is no end token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        end_texts: Sequence[str] = (),
        sizes: BatchSizes | None = None,
        running: Running | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.sizes = sizes or BatchSizes()
        self.running = running
        self.end_tokens = end_tokens(tokenizer, end_texts, model.generation_config)
        self.num_positions = num_positions(model.config)

    def answer(
        self,
        requests: Sequence[Request],
        on_answer: OnAnswer,
        *,
        done: Collection[Key] = frozenset(),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """As `Engine.answer`.

        Raises: UserError if a prompt fills the model's positions, or memory does not suffice for
        one row; FloatingPointError if logits are not numbers.
        """
        rows = [
            (request, encoded(self.tokenizer, request, self.num_positions)) for request in requests
        ]
        # Longest first: what does not fit into memory shows at once, and time left is over-
        # rather than underestimated.
        rows.sort(key=lambda row: (*_alike(row[0]), len(row[1])), reverse=True)
        with torch.inference_mode():
            for _, group in itertools.groupby(rows, key=lambda row: _alike(row[0])):
                if not self._answer_alike(list(group), on_answer, done, should_stop):
                    return False
        return True

    def _answer_alike(
        self,
        rows: list[tuple[Request, list[int]]],
        on_answer: OnAnswer,
        done: Collection[Key],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Answer requests with one limit and temperature, halving batches that do not fit."""
        plan = _digest([request.key for request, _ in rows])
        answered = set(done)

        def note(request: Request, answer: Generated) -> None:
            answered.add(request.key)
            on_answer(request, answer)

        start, size = 0, 0
        while start < len(rows):
            size = self.sizes.at(plan, start) or size
            if not size:
                size = self._rows_that_fit(len(rows[0][1]) + rows[0][0].max_new_tokens)
                self.sizes.choose(plan, start, size)
            batch = rows[start : start + size]
            try:
                if not self._answer_batch(batch, note, answered, should_stop):
                    return False
            except (MemoryError, RuntimeError) as error:
                if not isinstance(error, MemoryError) and not should_reduce_batch_size(error):
                    raise
                problem = str(error).strip().splitlines()[:1]
            else:
                start += len(batch)
                continue
            if len(batch) == 1:
                raise UserError(
                    f"{batch[0][0].question}: not enough memory for this question alone "
                    f"({len(batch[0][1])} tokens, and {batch[0][0].max_new_tokens} new ones): "
                    f"{''.join(problem)[:200]}"
                )
            # Only here have the tensors of the failed batch lost their last reference.
            gc.collect()
            clear_device_cache()
            size = len(batch) // 2
            self.sizes.choose(plan, start, size)
        return True

    def _answer_batch(
        self,
        batch: list[tuple[Request, list[int]]],
        on_answer: OnAnswer,
        done: Collection[Key],
        should_stop: Callable[[], bool],
    ) -> bool:
        requests, prompts = [row[0] for row in batch], [row[1] for row in batch]
        # A row that was answered before keeps its place: the shapes, and so the rounding of the
        # others, stay as they were.
        skipped = {row for row, request in enumerate(requests) if request.key in done}
        if len(skipped) == len(batch):
            return True
        if should_stop():
            return False
        width = max(map(len, prompts))
        limits = [
            min(request.max_new_tokens, self.num_positions - len(prompt))
            for request, prompt in batch
        ]
        ends = Ends(
            requests, limits, width, self.tokenizer, self.end_tokens, skipped, on_answer,
            should_stop, self.running,
        )  # fmt: skip
        fill = self.tokenizer.pad_token_id
        fill = min(self.end_tokens) if fill is None else fill
        config = GenerationConfig(
            max_new_tokens=max(limits),
            eos_token_id=sorted(self.end_tokens),
            pad_token_id=fill,
            do_sample=False,
        )
        # What this leaves open, `generate` would otherwise fill from the model's own defaults.
        self.model.generation_config = config
        # The stubs take `generate` of a general model for one of its tensors.
        continue_prompts: Any = self.model.generate
        device = self.model.device
        continue_prompts(
            input_ids=torch.tensor(
                [[fill] * (width - len(ids)) + ids for ids in prompts], device=device
            ),
            attention_mask=torch.tensor(
                [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device
            ),
            generation_config=config,
            logits_processor=LogitsProcessorList([Choice(requests, width, device)]),
            stopping_criteria=StoppingCriteriaList([ends]),
        )
        return not ends.stopped

    def _rows_that_fit(self, num_positions: int) -> int:
        """How many rows keep the key-value cache under its share of memory; where the others'
        share does not suffice, the batch is halved later."""
        config = self.model.config.get_text_config()
        heads = config.num_attention_heads
        head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
        cached_heads = getattr(config, "num_key_value_heads", None) or heads
        element_bytes = torch.finfo(self.model.dtype).bits // 8
        token_bytes = 2 * config.num_hidden_layers * cached_heads * head_width * element_bytes
        budget_mb = _CACHE_MB
        if self.model.device.type == "cuda":
            budget_mb = torch.cuda.mem_get_info(self.model.device)[0] // 2**20 // 2
        return max(1, min(_MAX_ROWS, budget_mb * 2**20 // (token_bytes * num_positions)))


def encoded(tokenizer: PreTrainedTokenizerBase, request: Request, num_positions: int) -> list[int]:
    """The tokens of a request's prompt.

    Raises: UserError that names the question, if they fill the model's positions.
    """
    ids = tokenizer(request.prompt, add_special_tokens=not request.is_rendered)["input_ids"]
    if not ids:
        raise UserError(f"{request.question}: its prompt is empty")
    if len(ids) >= num_positions:
        raise UserError(
            f"{request.question}: its prompt has {len(ids)} tokens, and the model has "
            f"{num_positions} positions; leave the question out, or take a model with more"
        )
    return list(ids)


def num_positions(config: Any) -> int:
    """The most tokens that a model can see at once; a very large number where it names none."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 2**40


def end_tokens(
    tokenizer: PreTrainedTokenizerBase, end_texts: Sequence[str], config: GenerationConfig | None
) -> set[int]:
    """The tokens that end an answer: the model's, the tokenizer's, and `end_texts`.

    Raises: UserError if there is none.
    """
    named: list[Any] = [tokenizer.eos_token_id, *map(tokenizer.convert_tokens_to_ids, end_texts)]
    own: Any = config.eos_token_id if config else None
    named += own if isinstance(own, list) else [own]
    ends = {int(token) for token in named if token is not None}
    if not ends:
        raise UserError("the model has no end token, so its answers would never end")
    return ends


def _alike(request: Request) -> tuple[int, float]:
    return request.max_new_tokens, request.temperature


def _digest(keys: list[Key]) -> str:
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]
