"""Choosing tokens and ending answers, row by row, within transformers' `generate`.

Shapes: B rows of a batch, T positions, V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from otr.evaluation.requests import Generated, Request, cut

_MOST_NUMBERS = 2**24
"""Probabilities computed at once, in float64."""


class Choice(LogitsProcessor):
    """Leaves each row the one token that is chosen for it.

    token = first v with  sum_{w <= v} softmax(logits / temperature)_w > u,   u of `Request.uniforms`

    A row's u depends on its seed, question, sample and position; so does its token, as far as its
    logits do. At temperature 0 the logits stay as they are, and the likeliest token is taken.
    Raises: FloatingPointError if logits are not numbers.
    """

    def __init__(self, requests: Sequence[Request], width: int, device: torch.device) -> None:
        self.requests, self.width = requests, width
        self.temperature = requests[0].temperature
        self.uniform_BT: Tensor | None = None
        if self.temperature > 0:
            numbers = np.stack([request.uniforms() for request in requests])
            self.uniform_BT = torch.from_numpy(numbers).to(device)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        bad_B = scores.isnan().any(dim=-1)
        if bad_B.any():
            request = self.requests[int(bad_B.nonzero()[0, 0])]
            raise FloatingPointError(
                f"{request.question}: the model's logits are not numbers (NaN), so its weights "
                "are broken"
            )
        if self.uniform_BT is None:
            return scores
        position = input_ids.shape[1] - self.width
        chosen_B1 = drawn(scores / self.temperature, self.uniform_BT[:, position])[:, None]
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen_B1, 0.0)


def drawn(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The token whose share of the cumulated softmax holds each row's number: [B]."""
    num_rows = max(1, _MOST_NUMBERS // logits_BV.shape[1])
    tokens = []
    for logits, uniform in zip(logits_BV.split(num_rows), uniform_B.split(num_rows), strict=True):
        reached = logits.double().softmax(-1).cumsum(-1)
        # Rounding may end the sum a little off 1; no token of probability 0 lies at its end so.
        total = reached[:, -1:].contiguous()
        wanted = uniform[:, None] * total
        token = torch.searchsorted(reached, wanted, right=True)
        last = torch.searchsorted(reached, total)
        tokens.append(torch.minimum(token, last)[:, 0])
    return torch.cat(tokens)


class Ends(StoppingCriteria):
    """Ends each row at its end token, stop text or limit, and tells its answer at once."""

    def __init__(
        self,
        requests: Sequence[Request],
        limits: Sequence[int],
        width: int,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: Collection[int],
        skipped: Collection[int],
        on_answer: Callable[[Request, Generated], None],
        should_stop: Callable[[], bool],
        running: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self.requests, self.limits, self.width = requests, limits, width
        self.tokenizer, self.end_tokens = tokenizer, frozenset(end_tokens)
        self.on_answer, self.should_stop = on_answer, should_stop
        self.running = running
        self.open = [row for row in range(len(requests)) if row not in skipped]
        self.stopped = False
        longest = max((len(text.encode()) for r in requests for text in r.stop), default=0)
        # A token has at least one byte of text, but for special ones and the ends of a character.
        self.num_last = longest + 8 if longest else 1

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.stopped = self.stopped or self.should_stop()
        num_drawn = input_ids.shape[1] - self.width
        last_BT = input_ids[:, self.width :][:, -self.num_last :].tolist()
        still_open = []
        for row in [] if self.stopped else self.open:
            request, last = self.requests[row], last_BT[row]
            ended = last[-1] in self.end_tokens
            full = num_drawn >= self.limits[row]
            if ended or full or self._may_hold(request.stop, last):
                answer = self._answer(request, input_ids[row, self.width :].tolist(), ended)
                if full or not answer.truncated:
                    self.on_answer(request, answer)
                    continue
            still_open.append(row)
        self.open = [] if self.stopped else still_open
        if self.running is not None:
            most = max((self.limits[row] for row in self.open), default=num_drawn)
            self.running(len(self.open), num_drawn, most)
        closed_B = torch.ones(len(self.requests), dtype=torch.bool)
        closed_B[self.open] = False
        return closed_B.to(input_ids.device)

    def _may_hold(self, stop: tuple[str, ...], last: list[int]) -> bool:
        if not stop:
            return False
        text = str(self.tokenizer.decode(last, skip_special_tokens=True))
        return any(each in text for each in stop)

    def _answer(self, request: Request, tokens: list[int], ended: bool) -> Generated:
        kept = tokens[:-1] if ended else tokens
        text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
        before_stop = cut(text, request.stop)
        return Generated(
            text=before_stop,
            num_tokens=len(tokens),
            truncated=not ended and before_stop == text,
        )
