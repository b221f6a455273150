"""Sums over supervised tokens behind the logged figures, from one log line to the next."""

from collections import defaultdict
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from otr.lm_head import HeadOutput

_COLUMNS = {
    "entropy": "entropy",
    "mean_token_accuracy": "is_top1",
    "rollout_hit_rate": "hit_rate",
    "rollout_reward": "reward",
    "target_weight": "target_weight",
}
"""Logged column: the head's per-token field whose mean over supervised tokens it is."""

_ONE_POLICY = ("hit_rate", "reward")
"""Logged columns under the same policy for every objective: one draw at temperature 1, rewarded 1 if it
hits the label and 0 if not. Their expectation is the label's probability, so they cost nothing."""

_COUNTS = ("num_supervised", "num_sequences", "num_seen", "aux_count")


class Sums:
    """What one process has seen since the last log line; it never waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sums: defaultdict[str, Any] = defaultdict(float)
        self._since: float | None = None

    def begin(self) -> None:
        """Count the time from now on, unless that is done already."""
        if self._since is None:
            self._since = perf_counter()

    def add(
        self, head: HeadOutput, num_supervised: Tensor, num_tokens: Tensor | int, seen: Tensor | int
    ) -> None:
        """A micro-batch: the head's fields, its supervised tokens, the divisor of its loss, and
        all tokens that the model saw."""
        sums = self._sums
        sums["loss"] += head.loss.detach() * num_tokens
        sums["nll"] -= head.log_prob.sum()
        for column, field in _COLUMNS.items():
            sums[column] += getattr(head, field).sum()
        # p - 1 is 0 where a token is ignored, as its log_prob is.
        label_probs = num_supervised + head.log_prob.expm1().sum()
        for column in _ONE_POLICY:
            sums[column] += label_probs
        sums["num_supervised"] += num_supervised
        sums["num_seen"] += seen
        if head.kept_fraction is not None:
            sums["kept_fraction"] += head.kept_fraction * num_supervised

    def add_sequences(self, count: Tensor) -> None:
        """The sequences of a micro-batch, where its loss is a mean over these."""
        self._sums["num_sequences"] += count

    def add_aux_loss(self, loss: Tensor) -> None:
        """A micro-batch's load-balancing loss."""
        self._sums["aux_loss"] += loss.detach()
        self._sums["aux_count"] += 1

    def num_seen(self, accelerator: Any) -> int:
        """The tokens that the model has seen in all processes since the last line."""
        seen = torch.as_tensor(self._sums.get("num_seen", 0), dtype=torch.float64)
        return int(accelerator.reduce(seen.to(accelerator.device), "sum").item())

    def means(self, accelerator: Any) -> dict[str, float]:
        """Means over the supervised tokens of all processes; `num_seen` as a sum, with
        `tokens_per_second` where the time was counted. Empty if nothing was added."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        values = torch.stack(
            [
                torch.as_tensor(self._sums[name], dtype=torch.float64).to(accelerator.device)
                for name in names
            ]
        )
        values = accelerator.reduce(values, "sum")
        assert isinstance(values, Tensor)
        total = dict(zip(names, values.tolist(), strict=True))
        counts = {name: total.pop(name, 0) for name in _COUNTS}
        aux_loss = total.pop("aux_loss", 0)
        means = {name: value / max(counts["num_supervised"], 1) for name, value in total.items()}
        if counts["num_sequences"]:
            means["loss"] = total["loss"] / counts["num_sequences"]
        if counts["aux_count"]:
            means["aux_loss"] = aux_loss / counts["aux_count"]
        means["num_seen"] = counts["num_seen"]
        if self._since is not None:
            means["tokens_per_second"] = counts["num_seen"] / (perf_counter() - self._since)
        return means

    def clear(self) -> None:
        """Begin again, with nothing seen."""
        self._sums.clear()
        self._since = None

    def state(self) -> dict[str, Any]:
        """The sums as plain values."""
        tensors = {
            name: value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
            for name, value in self._sums.items()
        }
        return {
            name: [value.item(), str(value.dtype).removeprefix("torch.")]
            for name, value in tensors.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.clear()
        for name, (value, dtype) in state.items():
            self._sums[name] = torch.tensor(value, dtype=getattr(torch, dtype), device=self.device)
