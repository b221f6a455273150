"""One training step with the fused head, against the same step on the model's full logits.

N rows, L positions, V vocabulary.
"""

import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl.trainer.sft_config import SFTConfig

from families.tiny import FIRST_SPECIAL, VOCABULARY
from otr import OTR, OTRTrainer, logits_loss

_OBJECTIVE = OTR(num_rollouts="exact")
_LENGTHS = (9, 6, 12, 4)
_EPSILON = 1e-3
"""Gradients below this share of the largest are compared with that share."""


@dataclass(frozen=True)
class Step:
    """How far a fused step is from one on full logits."""

    loss: float
    loss_error: float
    """Relative."""
    gradient_error: float
    """Largest over the parameters, relative to the norm of each."""
    rounded: bool
    """The model makes its own logits in float32."""
    num_gradients: int
    aux_loss: float | None
    """Of a mixture's router, times its coefficient."""
    own_loss: str
    """What the model makes of labels itself: the "same" as the NLL and `aux_loss`, "unshifted" where
    it takes a label for its own token, or "other"."""


def rows() -> Dataset:
    """Rows of several lengths, the first tokens of each unsupervised."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for length in _LENGTHS:
        ids = torch.randint(1, FIRST_SPECIAL, (length,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": [-100, -100, *ids[2:]]})
    return Dataset.from_list(made)


def tokenizer() -> PreTrainedTokenizerFast:
    """A word for each token; the last two end and pad a row."""
    words = {f"w{index}": index for index in range(VOCABULARY)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    end, pad = f"w{VOCABULARY - 2}", f"w{VOCABULARY - 1}"
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=end, pad_token=pad)


def make_trainer(model: PreTrainedModel) -> OTRTrainer:
    """Raises: ValueError where the model is refused."""
    arguments = SFTConfig(
        output_dir=tempfile.gettempdir(),
        per_device_train_batch_size=len(_LENGTHS),
        max_steps=1,
        report_to="none",
        save_strategy="no",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        disable_tqdm=True,
    )
    return OTRTrainer(
        model=model,
        args=arguments,
        train_dataset=rows(),
        processing_class=tokenizer(),
        objective=_OBJECTIVE,
    )


def enliven(model: PreTrainedModel) -> None:
    """Move every parameter a little, so that none is zero and has no effect."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.05 * noise.to(parameter.dtype))


def compared(trainer: OTRTrainer, model: PreTrainedModel) -> Step:
    """Loss and gradients of a step, fused and by autograd on the full logits."""
    model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    labels_NL = batch["labels"]
    count = (labels_NL[:, 1:] != -100).sum()
    torch.manual_seed(3)
    fused = trainer.compute_loss(model, dict(batch), num_items_in_batch=count)
    fused.backward()
    found = _taken_gradients(model)

    router = {"output_router_logits": True} if trainer.aux_loss_enabled else {}
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.manual_seed(3)
    out = model(**inputs, use_cache=False, **router)
    logits_NLV: Tensor = out.logits
    rounded = logits_NLV.dtype != torch.float64
    flat = logits_NLV[:, :-1].flatten(0, 1), labels_NL[:, 1:].flatten()
    loss = logits_loss(*flat, _OBJECTIVE, backend="reference").loss
    aux = trainer.router_aux_loss_coef * out.aux_loss if router else None
    loss = loss if aux is None else loss + aux
    loss.backward()
    expected = _taken_gradients(model)
    if not torch.isfinite(loss) or not expected:
        raise ValueError(f"the step on full logits has no finite loss: {float(loss)}")
    if float(logits_NLV.detach().std()) < 0.05:
        raise ValueError(f"logits too alike to tell: {float(logits_NLV.detach().std()):.1e}")

    logits_NLV = logits_NLV.detach()
    shifted = _nll(logits_NLV[:, :-1], labels_NL[:, 1:]) + float(aux or 0)
    unshifted = _nll(logits_NLV, labels_NL) + float(aux or 0)
    own = _own_loss(model, {**inputs, **router}, labels_NL)
    kinds = {"same": shifted, "unshifted": unshifted}
    return Step(
        loss=float(loss),
        loss_error=abs(float(fused) / float(loss) - 1),
        gradient_error=_largest_error(found, expected),
        rounded=rounded,
        num_gradients=len(expected),
        aux_loss=None if aux is None else float(aux),
        own_loss=next(
            (kind for kind, loss in kinds.items() if abs(own / loss - 1) < 1e-5), "other"
        ),
    )


def _nll(logits_NLV: Tensor, labels_NL: Tensor) -> float:
    return float(nn.functional.cross_entropy(logits_NLV.flatten(0, 1), labels_NL.flatten()))


def _taken_gradients(model: nn.Module) -> dict[str, Tensor]:
    taken = {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None and bool(value.grad.any())
    }
    model.zero_grad()
    return taken


def _largest_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    if found.keys() != expected.keys():
        return float("inf")
    largest = max(float(value.norm()) for value in expected.values())
    return max(
        float((found[name] - value).norm()) / max(float(value.norm()), _EPSILON * largest)
        for name, value in expected.items()
    )


def _own_loss(model: nn.Module, inputs: dict[str, Any], labels_NL: Tensor) -> float:
    torch.manual_seed(3)
    try:
        with torch.no_grad():
            own = model(**inputs, labels=labels_NL, use_cache=False).loss
    except Exception:
        return float("nan")
    return float("nan") if own is None else float(own)
