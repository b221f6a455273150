"""Gradients in the forward pass, a chunk of rows at a time; never a [T, V] tensor.

Ignored rows are left out first. For each chunk of rows the logits are made in one buffer, read
twice for their statistics, overwritten with their own gradient, and multiplied into the gradients
of the hidden states and the weight. Statistics and gradients are float32 (float64 for float64
inputs), whatever the inputs' dtype. Memory: one chunk of logits, at most `_CHUNK_ELEMENTS`
elements, and the gradients.

Shapes: T tokens, R rows of a chunk, D width, V vocabulary, K rollouts.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from otr.lm_head.call import IGNORED, PER_TOKEN, Call, HeadOutput, compute_dtype
from otr.lm_head.rows import Rows, process_rows

_CHUNK_ELEMENTS = 1 << 26
_MOST_ROWS, _FEWEST_ROWS = 1024, 16
_WEIGHT_ROWS = 8192


def linear_head(
    hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, call: Call
) -> HeadOutput:
    """The loss of hidden states under a head's weight; see `otr.linear_loss`."""
    loss, *per_token, words = _LinearHead.apply(  # type: ignore[misc]
        hidden_TD, weight_VD, bias_V, call, torch.is_grad_enabled()
    )
    return _output(loss, per_token, words)


def rows_in_chunk(vocabulary: int) -> int:
    """Rows of logits that are held at once."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _CHUNK_ELEMENTS // vocabulary))


def logits_head(logits_TV: Tensor, call: Call) -> HeadOutput:
    """The loss of raw logits; see `otr.logits_loss`."""
    loss, *per_token, words = _LogitsHead.apply(  # type: ignore[misc]
        logits_TV, call, torch.is_grad_enabled()
    )
    return _output(loss, per_token, words)


class _LinearHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        call: Call,
        grad: bool,
    ) -> tuple[Tensor | None, ...]:
        wanted = [grad and needed for needed in ctx.needs_input_grad[:3]]
        dtype = compute_dtype(hidden_TD, weight_VD)
        tokens = _Tokens.of(call, dtype)
        hidden_grad, weight_grad, bias_grad = (
            torch.zeros_like(tensor, dtype=dtype) if tensor is not None and want else None
            for tensor, want in zip((hidden_TD, weight_VD, bias_V), wanted, strict=True)
        )
        buffer = tokens.buffer(weight_VD.shape[0], dtype)
        for index in tokens.chunks(weight_VD.shape[0]):
            hidden_RD = hidden_TD[index].to(dtype)
            logits_RV = buffer[: len(index)]
            _times_weight(hidden_RD, weight_VD, logits_RV)
            if bias_V is not None:
                logits_RV += bias_V
            tokens.process(logits_RV, index, any(wanted))
            if hidden_grad is not None:
                hidden_grad[index] = _times_weight_transposed(logits_RV, weight_VD)
            if weight_grad is not None:
                weight_grad.addmm_(logits_RV.T, hidden_RD)
            if bias_grad is not None:
                bias_grad += logits_RV.sum(0)
        ctx.gradients = (hidden_grad, weight_grad, bias_grad)
        ctx.dtypes = (hidden_TD.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        outputs = tokens.outputs()
        ctx.mark_non_differentiable(*(output for output in outputs[1:] if output is not None))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        gradients = tuple(
            None if gradient is None else gradient.mul_(loss_grad).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        )
        del ctx.gradients
        return (*gradients, None, None)


class _LogitsHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, call: Call, grad: bool) -> tuple[Tensor | None, ...]:
        wanted = grad and ctx.needs_input_grad[0]
        dtype = compute_dtype(logits_TV)
        tokens = _Tokens.of(call, dtype)
        vocabulary = logits_TV.shape[1]
        logits_grad = torch.zeros_like(logits_TV) if wanted else None
        buffer = tokens.buffer(vocabulary, dtype)
        for index in tokens.chunks(vocabulary):
            logits_RV = buffer[: len(index)]
            logits_RV.copy_(logits_TV[index])
            tokens.process(logits_RV, index, wanted)
            if logits_grad is not None:
                logits_grad[index] = logits_RV.to(logits_grad.dtype)
        ctx.gradient = logits_grad
        outputs = tokens.outputs()
        ctx.mark_non_differentiable(*(output for output in outputs[1:] if output is not None))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        gradient = None if ctx.gradient is None else ctx.gradient.mul_(loss_grad)
        del ctx.gradient
        return gradient, None, None


@dataclass(frozen=True)
class _Tokens:
    """The supervised tokens of a call, and what was found of all tokens so far."""

    call: Call
    kept: Tensor
    losses_T: Tensor
    per_token: dict[str, Tensor]
    words_TK: Tensor | None

    @staticmethod
    def of(call: Call, dtype: torch.dtype) -> "_Tokens":
        shape, device = call.labels_T.shape, call.labels_T.device
        num_rollouts = call.objective.needs().num_rollouts
        words_TK = None
        if call.return_rollouts and num_rollouts:
            words_TK = torch.full((*shape, num_rollouts), -1, device=device)
        return _Tokens(
            call=call,
            kept=(call.labels_T != IGNORED).nonzero()[:, 0],
            losses_T=torch.zeros(shape, dtype=dtype, device=device),
            per_token={name: torch.zeros(shape, dtype=dtype, device=device) for name in PER_TOKEN},
            words_TK=words_TK,
        )

    def chunks(self, vocabulary: int) -> tuple[Tensor, ...]:
        """Indices of the supervised tokens, a chunk at a time."""
        return self.kept.split(rows_in_chunk(vocabulary)) if len(self.kept) else ()

    def buffer(self, vocabulary: int, dtype: torch.dtype) -> Tensor:
        """Room for the logits of the largest chunk."""
        rows = max((len(index) for index in self.chunks(vocabulary)), default=0)
        return torch.empty(rows, vocabulary, dtype=dtype, device=self.kept.device)

    def process(self, logits_RV: Tensor, index: Tensor, gradient: bool) -> None:
        """Note the losses and statistics of a chunk; leave its gradient in `logits_RV`."""
        rows: Rows = process_rows(logits_RV, index, self.call, gradient)
        self.losses_T[index] = rows.losses_R
        for name, value in rows.per_token.items():
            self.per_token[name][index] = value.to(self.losses_T.dtype)
        if self.words_TK is not None and rows.words_RK is not None:
            self.words_TK[index] = rows.words_RK

    def outputs(self) -> tuple[Tensor | None, ...]:
        loss = self.losses_T.sum() / self.call.num_tokens
        return loss, *self.per_token.values(), self.words_TK


def _output(loss: Tensor, per_token: list[Tensor], words: Tensor | None) -> HeadOutput:
    return HeadOutput(loss=loss, rollouts=words, **dict(zip(PER_TOKEN, per_token, strict=True)))


def _times_weight(hidden_RD: Tensor, weight_VD: Tensor, out_RV: Tensor) -> None:
    """out = hidden weight^T in hidden's dtype; a weight of another is converted in slices."""
    if weight_VD.dtype == hidden_RD.dtype:
        torch.mm(hidden_RD, weight_VD.T, out=out_RV)
        return
    for start in range(0, len(weight_VD), _WEIGHT_ROWS):
        piece = weight_VD[start : start + _WEIGHT_ROWS].to(hidden_RD.dtype)
        out_RV[:, start : start + len(piece)] = hidden_RD @ piece.T


def _times_weight_transposed(grad_RV: Tensor, weight_VD: Tensor) -> Tensor:
    """grad weight in grad's dtype; a weight of another is converted in slices."""
    if weight_VD.dtype == grad_RV.dtype:
        return grad_RV @ weight_VD
    out_RD = grad_RV.new_zeros(len(grad_RV), weight_VD.shape[1])
    for start in range(0, len(weight_VD), _WEIGHT_ROWS):
        piece = weight_VD[start : start + _WEIGHT_ROWS].to(grad_RV.dtype)
        out_RD.addmm_(grad_RV[:, start : start + len(piece)], piece)
    return out_RD
