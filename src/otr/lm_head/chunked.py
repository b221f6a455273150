"""Gradients in the forward pass, a chunk of rows at a time; never a [T, V] tensor.

Ignored rows are left out first. For each chunk of rows the logits are made in one buffer, read
for their sums, overwritten with their own gradient, and multiplied into the gradients of the
hidden states and the weight; entries that do not matter can be left out of these two products,
see `compaction`. Statistics and sums are float32 (float64 for float64 inputs), whatever the inputs'
dtype.

Memory: a chunk, of at most 320 MiB on a CPU and 768 MiB on an accelerator (but at least 16 rows),
whatever T, D, K and the free memory are; the gradients; and on an accelerator, where hidden states
have 16 bits and the weight 32, a 16-bit copy of it, as under autocast. On an accelerator the host
waits once, for the number of supervised tokens, and a few times a chunk for the choice of
`compaction`.

Shapes: T tokens, R rows of a chunk, D width, V vocabulary, K rollouts.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from otr.lm_head import torch_passes
from otr.lm_head.call import IGNORED, PER_TOKEN, Call, HeadOutput, compute_dtype
from otr.lm_head.compaction import Compaction, Kept
from otr.lm_head.passes import Passes
from otr.lm_head.products import Products
from otr.lm_head.rows import process_rows

_CPU_CHUNK_BYTES, _ACCELERATOR_CHUNK_BYTES = 320 << 20, 768 << 20
_MOST_ROWS, _FEWEST_ROWS = 1024, 16
_CPU_LOGITS_AT_ONCE, _CPU_DRAWS_AT_ONCE = 1 << 18, 1 << 16
_ACCELERATOR_DRAWS_AT_ONCE = 1 << 18


def linear_head(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    call: Call,
    passes: Passes = torch_passes,
) -> HeadOutput:
    """The loss of hidden states under a head's weight; see `otr.linear_loss`."""
    loss, *per_token, words, kept_fraction = _LinearHead.apply(
        hidden_TD, weight_VD, bias_V, call, passes, torch.is_grad_enabled()
    )
    return _output(loss, per_token, words, kept_fraction)


def logits_head(logits_TV: Tensor, call: Call, passes: Passes = torch_passes) -> HeadOutput:
    """The loss of raw logits; see `otr.logits_loss`."""
    loss, *per_token, words = _LogitsHead.apply(logits_TV, call, passes, torch.is_grad_enabled())
    return _output(loss, per_token, words, None)


def rows_in_chunk(vocabulary: int, device: str = "cpu", bytes_per_logit: int = 4) -> int:
    """Rows of logits that are held at once."""
    room = _CPU_CHUNK_BYTES if device == "cpu" else _ACCELERATOR_CHUNK_BYTES
    rows = min(_MOST_ROWS, room // (bytes_per_logit * vocabulary))
    # Whole tiles of a matrix product, where there are some.
    return max(_FEWEST_ROWS, rows - rows % 128 if rows > 128 else rows)


def _rows_at_once(vocabulary: int, num_rollouts: int, device: str) -> int:
    """Rows whose statistics and draws are made at once: few enough to stay in a processor's cache,
    and so few where there are many draws that memory does not grow with K."""
    draws = max(num_rollouts, 1)
    if device != "cpu":
        return max(1, min(_MOST_ROWS, _ACCELERATOR_DRAWS_AT_ONCE // draws))
    rows = min(512, max(64, _CPU_LOGITS_AT_ONCE // vocabulary))
    return max(1, min(rows, _CPU_DRAWS_AT_ONCE // draws))


class _LinearHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        call: Call,
        passes: Passes,
        grad: bool,
    ) -> tuple[Tensor | None, ...]:
        work = _LinearWork(
            hidden_TD,
            weight_VD,
            bias_V,
            call,
            passes,
            [grad and needed for needed in ctx.needs_input_grad[:3]],
        )
        kept_fraction = work.run()
        ctx.gradients = (work.hidden_gradient, work.weight_gradient, work.bias_gradient)
        ctx.dtypes = (hidden_TD.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        ctx.num_tokens = call.num_tokens
        outputs = (*work.tokens.outputs(), kept_fraction)
        ctx.mark_non_differentiable(*(output for output in outputs[1:] if output is not None))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        factor = loss_grad / ctx.num_tokens
        gradients = tuple(
            None if gradient is None else gradient.mul_(factor).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        )
        del ctx.gradients
        return (*gradients, None, None, None)


class _LinearWork:
    """One call of the linear head: its inputs, its chunk of logits, and the gradients so far.

    Gradients are those of the tokens' summed losses, not yet divided: in float16 the quotient
    would vanish.
    """

    def __init__(
        self,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        call: Call,
        passes: Passes,
        wanted: list[bool],
    ) -> None:
        self._passes, self._products = passes, Products.of(hidden_TD, weight_VD)
        self._hidden_TD, self._bias_V = hidden_TD, bias_V
        self._weight_VD = self._products.operand_weight(weight_VD)
        compute, operand = self._products.compute, self._products.operand
        bytes_per_logit = self._products.bytes_per_logit
        self._reference_products = None
        if call.reference_TD is not None and call.reference_weight_VD is not None:
            self._reference_products = Products.of(call.reference_TD, call.reference_weight_VD)
            self._reference_weight_VD = self._reference_products.operand_weight(
                call.reference_weight_VD
            )
            bytes_per_logit += self._reference_products.compute.itemsize
        self.tokens = _Tokens.of(call, compute, len(weight_VD), bytes_per_logit)
        self.hidden_gradient, self.weight_gradient, self.bias_gradient = (
            torch.zeros_like(tensor, dtype=compute) if tensor is not None and want else None
            for tensor, want in zip((hidden_TD, weight_VD, bias_V), wanted, strict=True)
        )
        self._logits = self.tokens.buffer(compute)
        if self._reference_products is not None:
            self._reference = self.tokens.buffer(self._reference_products.compute)
        self._gradient = None
        if any(wanted):
            self._gradient = self._logits if operand == compute else self.tokens.buffer(operand)
        self._compaction = None
        if call.compaction is not None and any(wanted[:2]):
            self._compaction = Compaction(
                call.compaction,
                len(self.tokens.kept),
                weight_VD,
                hidden_gradient=wanted[0],
                weight_gradient=wanted[1],
            )

    def run(self) -> Tensor | None:
        """Go through all tokens. Returns the share of the logits whose gradient entered the
        products, where some could be left out."""
        self._go_through(self._compaction)
        if self._compaction is None:
            return None
        if self._compaction.holds(self.hidden_gradient, self.weight_gradient):
            return self._compaction.kept_fraction()
        for gradient in (self.hidden_gradient, self.weight_gradient, self.bias_gradient):
            if gradient is not None:
                gradient.zero_()
        self._go_through(None)
        return torch.ones(())

    def _go_through(self, compaction: Compaction | None) -> None:
        for index in self.tokens.chunks():
            hidden_RD, gradient_RV = self._chunk(index)
            if gradient_RV is None:
                continue
            if self.bias_gradient is not None:
                self.bias_gradient += gradient_RV.sum(0, dtype=self.bias_gradient.dtype)
            kept = Kept(gradient_RV, hidden_RD, index, None)
            if compaction is not None:
                kept = compaction.kept(gradient_RV, hidden_RD, index)
            if self.hidden_gradient is not None:
                self.hidden_gradient[kept.index_R] = self._products.hidden_gradient(
                    kept.gradient_RV, self._weight_VD, kept.columns
                )
            if self.weight_gradient is not None:
                self._products.add_weight_gradient(
                    self.weight_gradient, kept.gradient_RV, kept.hidden_RD, kept.columns
                )

    def _chunk(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden states of some tokens, and the gradient of their logits."""
        hidden_RD = self._hidden_TD[index]
        logits_RV = self._logits[: len(index)]
        self._products.write_logits(hidden_RD, self._weight_VD, logits_RV)
        if self._bias_V is not None:
            logits_RV += self._bias_V
        gradient_RV = None if self._gradient is None else self._gradient[: len(index)]
        reference_RV = None
        if self._reference_products is not None:
            assert self.tokens.call.reference_TD is not None
            reference_RV = self._reference[: len(index)]
            self._reference_products.write_logits(
                self.tokens.call.reference_TD[index], self._reference_weight_VD, reference_RV
            )
        self.tokens.process(logits_RV, index, self._passes, gradient_RV, reference_RV)
        return hidden_RD, gradient_RV


class _LogitsHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_TV: Tensor, call: Call, passes: Passes, grad: bool
    ) -> tuple[Tensor | None, ...]:
        wanted = grad and ctx.needs_input_grad[0]
        compute = compute_dtype(logits_TV)
        tokens = _Tokens.of(call, compute, logits_TV.shape[1], compute.itemsize)
        # Not yet divided, as in `_LinearWork`.
        ctx.gradient = torch.zeros_like(logits_TV) if wanted else None
        ctx.num_tokens = call.num_tokens
        buffer = tokens.buffer(compute)
        for index in tokens.chunks():
            logits_RV = buffer[: len(index)]
            logits_RV.copy_(logits_TV[index])
            tokens.process(logits_RV, index, passes, logits_RV if wanted else None)
            if ctx.gradient is not None:
                ctx.gradient[index] = logits_RV.to(logits_TV.dtype)
        outputs = tokens.outputs()
        ctx.mark_non_differentiable(*(output for output in outputs[1:] if output is not None))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        gradient = None
        if ctx.gradient is not None:
            gradient = ctx.gradient.mul_(loss_grad / ctx.num_tokens)
        del ctx.gradient
        return gradient, None, None, None


@dataclass(frozen=True)
class _Tokens:
    """The supervised tokens of a call, and what was found of all tokens so far."""

    call: Call
    kept: Tensor
    vocabulary: int
    rows_in_chunk: int
    rows_at_once: int
    losses_T: Tensor
    per_token: dict[str, Tensor]
    words_TK: Tensor | None

    @staticmethod
    def of(call: Call, dtype: torch.dtype, vocabulary: int, bytes_per_logit: int) -> "_Tokens":
        shape, device = call.labels_T.shape, call.labels_T.device
        num_rollouts = call.objective.needs().num_rollouts
        words_TK = None
        if call.return_rollouts and num_rollouts:
            words_TK = torch.full((*shape, num_rollouts), -1, device=device)
        return _Tokens(
            call=call,
            kept=(call.labels_T != IGNORED).nonzero()[:, 0],
            vocabulary=vocabulary,
            rows_in_chunk=rows_in_chunk(vocabulary, device.type, bytes_per_logit),
            rows_at_once=_rows_at_once(vocabulary, num_rollouts, device.type),
            losses_T=torch.zeros(shape, dtype=dtype, device=device),
            per_token={name: torch.zeros(shape, dtype=dtype, device=device) for name in PER_TOKEN},
            words_TK=words_TK,
        )

    def chunks(self) -> tuple[Tensor, ...]:
        """Indices of the supervised tokens, a chunk at a time."""
        return self.kept.split(self.rows_in_chunk) if len(self.kept) else ()

    def buffer(self, dtype: torch.dtype) -> Tensor:
        """Room for one number of each logit of the largest chunk."""
        rows = min(len(self.kept), self.rows_in_chunk)
        return torch.empty(rows, self.vocabulary, dtype=dtype, device=self.kept.device)

    def process(
        self,
        logits_RV: Tensor,
        index: Tensor,
        passes: Passes,
        gradient_RV: Tensor | None,
        reference_RV: Tensor | None = None,
    ) -> None:
        """Note the losses and statistics of a chunk; write its gradient where it is wanted."""
        for rows in range(0, len(index), self.rows_at_once):
            part = slice(rows, rows + self.rows_at_once)
            found = process_rows(
                logits_RV[part],
                index[part],
                self.call,
                passes,
                None if gradient_RV is None else gradient_RV[part],
                None if reference_RV is None else reference_RV[part],
            )
            self.losses_T[index[part]] = found.losses_R
            for name, value in found.per_token.items():
                self.per_token[name][index[part]] = value.to(self.losses_T.dtype)
            if self.words_TK is not None and found.words_RK is not None:
                self.words_TK[index[part]] = found.words_RK

    def outputs(self) -> tuple[Tensor | None, ...]:
        loss = self.losses_T.sum() / self.call.num_tokens
        return loss, *self.per_token.values(), self.words_TK


def _output(
    loss: Tensor, per_token: list[Tensor], words: Tensor | None, kept_fraction: Tensor | None
) -> HeadOutput:
    return HeadOutput(
        loss=loss,
        rollouts=words,
        kept_fraction=kept_fraction,
        **dict(zip(PER_TOKEN, per_token, strict=True)),
    )
