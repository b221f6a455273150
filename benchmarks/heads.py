"""The heads that are compared. Each call is a forward and a backward pass over the same inputs.

A head that this machine cannot run raises when it is prepared or called; the harness records why.

Shapes: T tokens, R rows of a chunk, D width, V vocabulary, K rollouts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cases import Inputs
from otr.lm_head import IGNORED, linear_loss
from otr.objectives import OTR, SFT, Objective

TEMPERATURE, WRONG_REWARD, NUM_ROLLOUTS = 1.3, -0.1, 256
COMPACTION = 2**-9
"""Bound of the relative error of the weight gradient, below the rounding of bfloat16."""

_CHUNK_ELEMENTS, _MOST_ROWS, _FEWEST_ROWS = 1 << 26, 1024, 16


class Unavailable(Exception):
    """This head does not exist here, and why."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call leaves, gradients apart."""

    rollouts: Tensor | None = None
    """The drawn words (T, K), where they were asked for."""

    kept_fraction: Tensor | None = None
    """Share of the rows that were not dropped, for a head that drops rows."""


Run = Callable[[], Outcome]


@dataclass(frozen=True, kw_only=True)
class Head:
    """One head."""

    prepare: Callable[[Inputs, bool], Run]
    """Makes the call over given inputs; with True, it also returns its rollouts."""

    truth: Literal["sft", "sampled", "exact"] | None = None
    """Whose gradient it computes; None for no gradient."""

    wrong_reward: float = WRONG_REWARD

    logits_held: int = 0
    """About how many float32 arrays of all logits, (T, V), it holds at its peak."""

    cpu_note: str = ""
    """What is to be said of it on the CPU."""


def _gemms(inputs: Inputs, record: bool) -> Run:
    """The bare matrix products over supervised rows, in chunks of rows, into buffers made before.

    Logits, hidden gradient, weight gradient summed over chunks. 16-bit inputs on CUDA give float32
    logits and a float32 sum; on the CPU, all of it is in the inputs' dtype.
    """
    hidden_TD = inputs.hidden_TD.detach()[inputs.labels_T != IGNORED]
    weight_VD, dtype = inputs.weight_VD.detach(), inputs.weight_VD.dtype
    wide = hidden_TD.is_cuda and dtype in (torch.float16, torch.bfloat16)
    sums: dict[str, Any] = {"out_dtype": torch.float32} if wide else {}
    vocabulary = len(weight_VD)
    rows = max(_FEWEST_ROWS, min(_MOST_ROWS, _CHUNK_ELEMENTS // vocabulary, len(hidden_TD)))
    logits_RV = hidden_TD.new_empty(rows, vocabulary, dtype=torch.float32 if wide else dtype)
    # What a head would have made of the logits; their values do not matter here.
    gradient_RV = torch.randn_like(logits_RV).to(dtype) if wide else logits_RV
    hidden_grad_TD = torch.empty_like(hidden_TD)
    weight_grad_VD = torch.empty_like(weight_VD, dtype=logits_RV.dtype)

    def run() -> Outcome:
        for start in range(0, len(hidden_TD), rows):
            hidden_RD = hidden_TD[start : start + rows]
            grad_RV = gradient_RV[: len(hidden_RD)]
            torch.mm(hidden_RD, weight_VD.T, out=logits_RV[: len(hidden_RD)], **sums)
            torch.mm(grad_RV, weight_VD, out=hidden_grad_TD[start : start + rows])
            if not inputs.weight_VD.requires_grad:
                continue
            if start == 0:
                torch.mm(grad_RV.T, hidden_RD, out=weight_grad_VD, **sums)
            else:
                torch.addmm(weight_grad_VD, grad_RV.T, hidden_RD, out=weight_grad_VD, **sums)
        return Outcome()

    return run


def _of_loss(loss: Callable[[Inputs], Tensor]) -> Callable[[Inputs, bool], Run]:
    """A head from its loss."""

    def prepare(inputs: Inputs, record: bool) -> Run:
        def run() -> Outcome:
            loss(inputs).backward()
            return Outcome()

        return run

    return prepare


def _full_logits(inputs: Inputs) -> Tensor:
    logits_TV = inputs.hidden_TD @ inputs.weight_VD.T
    return F.cross_entropy(logits_TV.float(), inputs.labels_T, ignore_index=IGNORED)


def _naive_otr(inputs: Inputs, record: bool) -> Run:
    """One-Token Rollout as one would write it first: all logits, softmax, multinomial."""

    def run() -> Outcome:
        logits_TV = (inputs.hidden_TD @ inputs.weight_VD.T).float()
        supervised_T = inputs.labels_T != IGNORED
        with torch.no_grad():
            policy_TV = (logits_TV / TEMPERATURE).softmax(-1)
            words_TK = torch.multinomial(policy_TV, NUM_ROLLOUTS, replacement=True)
            hits_TK = words_TK == inputs.labels_T[:, None]
            reward_TK = hits_TK.float().masked_fill(~hits_TK, WRONG_REWARD)
        log_prob_TK = logits_TV.log_softmax(-1).gather(1, words_TK)
        losses_T = -(reward_TK * log_prob_TK).mean(1)
        (losses_T * supervised_T).sum().div(supervised_T.sum()).backward()
        return Outcome(rollouts=words_TK if record else None)

    return run


def _trl(inputs: Inputs, record: bool) -> Run:
    """The fused head that TRL's `SFTTrainer` puts into a model, and its default loss.

    `add_fused_lm_head` patches a model's forward; here the model is only a head, whose backbone
    answers the hidden states. The outputs asked for are those that the trainer asks for.
    """
    from trl.trainer.utils import add_fused_lm_head

    class HeadOnly:
        def __init__(self) -> None:
            text_config = SimpleNamespace(model_type="qwen2")
            self.config = SimpleNamespace(get_text_config=lambda: text_config)
            states = SimpleNamespace(last_hidden_state=inputs.hidden_TD[None])
            self.base_model = lambda **_: states

        def forward(self) -> None:
            raise NotImplementedError

        def get_output_embeddings(self) -> Any:
            return SimpleNamespace(weight=inputs.weight_VD, bias=None)

    model: Any = HeadOnly()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))

    def run() -> Outcome:
        outputs = model.forward(fused_lm_head=True, shift_labels=inputs.labels_T[None])
        (-outputs.log_probs.sum() / outputs.label_mask.sum().clamp(min=1)).backward()
        return Outcome()

    return run


def _torch_chunked(inputs: Inputs, record: bool) -> Run:
    """PyTorch's own, chunked, with the options it picks itself."""
    if not hasattr(F, "linear_cross_entropy"):
        raise Unavailable(f"torch {torch.__version__} has no linear_cross_entropy")
    options = torch.nn.LinearCrossEntropyOptions()

    def loss(inputs: Inputs) -> Tensor:
        return F.linear_cross_entropy(
            inputs.hidden_TD, inputs.weight_VD, inputs.labels_T, options=options
        )

    return _of_loss(loss)(inputs, record)


def _liger(inputs: Inputs, record: bool) -> Run:
    if not inputs.hidden_TD.is_cuda:
        raise Unavailable("Liger's head needs CUDA and Triton")
    from liger_kernel.transformers import (  # type: ignore[import-not-found]
        LigerFusedLinearCrossEntropyLoss,
    )

    module = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORED)
    return _of_loss(lambda of: module(of.weight_VD, of.hidden_TD, of.labels_T))(inputs, record)


def _cut_cross_entropy(inputs: Inputs, record: bool) -> Run:
    """Its own kernels on CUDA; elsewhere its `torch_compile` implementation."""
    from cut_cross_entropy import linear_cross_entropy  # type: ignore[import-not-found]

    keywords: dict[str, Any] = {} if inputs.hidden_TD.is_cuda else {"impl": "torch_compile"}
    return _of_loss(
        lambda of: linear_cross_entropy(of.hidden_TD, of.weight_VD, of.labels_T, **keywords)
    )(inputs, record)


def _ours(objective: Objective, compaction: float | str = "off") -> Callable[[Inputs, bool], Run]:
    """`otr.linear_loss`, the public function."""

    def prepare(inputs: Inputs, record: bool) -> Run:
        def run() -> Outcome:
            out = linear_loss(
                inputs.hidden_TD,
                inputs.weight_VD,
                inputs.labels_T,
                objective,
                return_rollouts=record,
                compaction=compaction,
            )
            out.loss.backward()
            return Outcome(rollouts=out.rollouts, kept_fraction=out.kept_fraction)

        return run

    return prepare


def _otr(num_rollouts: int | Literal["exact"] = NUM_ROLLOUTS, **options: Any) -> Head:
    wrong_reward = options.get("wrong_reward", WRONG_REWARD)
    compaction = options.get("compaction", "off")
    objective = OTR(num_rollouts=num_rollouts, temperature=TEMPERATURE, wrong_reward=wrong_reward)
    return Head(
        prepare=_ours(objective, compaction),
        truth="exact" if num_rollouts == "exact" else "sampled",
        wrong_reward=wrong_reward,
    )


HEADS: dict[str, Head] = {
    "gemms": Head(prepare=_gemms),
    "full logits": Head(prepare=_of_loss(_full_logits), truth="sft", logits_held=4),
    "TRL": Head(prepare=_trl, truth="sft"),
    "torch linear_cross_entropy": Head(prepare=_torch_chunked, truth="sft"),
    "Liger": Head(prepare=_liger, truth="sft"),
    "cut-cross-entropy": Head(
        prepare=_cut_cross_entropy, truth="sft", cpu_note="its torch_compile implementation"
    ),
    "naive OTR": Head(prepare=_naive_otr, truth="sampled", logits_held=6),
    "SFT": Head(prepare=_ours(SFT()), truth="sft"),
    "OTR": _otr(),
    "OTR exact": _otr("exact"),
    "OTR beta 0": _otr(wrong_reward=0.0),
    "OTR K 16": _otr(16),
    "OTR K 64": _otr(64),
    "OTR K 1024": _otr(1024),
    "SFT compaction": Head(prepare=_ours(SFT(), COMPACTION), truth="sft"),
    "OTR compaction": _otr(compaction=COMPACTION),
}
"""Every head by its name in results; from "SFT" on they are `otr.linear_loss`."""

OURS = tuple(HEADS)[tuple(HEADS).index("SFT") :]
