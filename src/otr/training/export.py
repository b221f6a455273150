"""A trained model as one folder that other tools load, its adapter merged, checked by its logits."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from otr import runs
from otr.errors import UserError, first_line
from otr.pretrained import adapter_base, load_model, load_tokenizer
from otr.training.gguf import MODEL_FILE, convert, find_converter

_PROMPTS = (
    "The capital of France is",
    "def add(a, b):\n    return",
    "add 2 and 1 :",
    "Question: 17 * 3 = ?\nAnswer:",
)
_TOLERANCE = 1e-3
"""Of the largest logit, in float32 arithmetic: far above rounding, far below another model."""


@dataclass(frozen=True)
class Exported:
    """How far an exported model is from the trained one, on a few prompts."""

    dtype: str
    largest_logit: float
    largest_difference: float
    """Of a logit, between the trained model in float32 and the files as they were written."""
    merged_difference: float | None
    """The same between the adapter beside its base and merged into it, in float32; None if nothing
    was merged."""
    num_tokens: int
    num_same_first: int
    """After how many of the prompts' tokens the same word is the likeliest."""

    def lines(self) -> list[str]:
        """What to print."""
        lines = []
        if self.merged_difference is not None:
            lines.append(
                f"merged in float32: logits differ by {self.merged_difference:.2g} at most"
            )
        return [
            *lines,
            f"written in {self.dtype}: logits differ by {self.largest_difference:.2g} at most, of "
            f"{self.largest_logit:.2g}; after {self.num_same_first} of {self.num_tokens} tokens the "
            "same word is the likeliest",
        ]


def export(
    run_or_model: str,
    folder: Path,
    *,
    merge: bool = False,
    dtype: str = "float32",
    as_gguf: bool = False,
    converter: Path | None = None,
) -> Exported:
    """Write a model or the model of a run into a new folder, whole or not at all.

    An adapter is merged in float32 and rounded to `dtype` once. In 16 bits the update is rounded too,
    and what of it is smaller than half the last place of a weight is lost in any case.

    Raises: UserError if the folder is there, there is no model, the adapter cannot be merged, or what
        was written does not answer as the trained model does.
    """
    program = find_converter(converter) if as_gguf else None
    if folder.exists() or folder.is_symlink():
        raise UserError(f"-o: {folder} is there already; give a new folder")
    location = runs.model_folder(run_or_model)
    is_adapter = adapter_base(location) is not None
    if is_adapter and as_gguf and not merge:
        raise UserError("--format gguf: an adapter has to be merged into its base; add --merge")
    tokenizer = load_tokenizer(location)
    model = _loaded(location)
    before = _logits(model, tokenizer)
    merged = None
    if is_adapter and merge:
        model = _merged(model)
        merged = _difference(before, _logits(model, tokenizer), "merging")
    written_dtype: torch.dtype = getattr(torch, dtype)
    _round(model, written_dtype)
    expected = _logits(model, tokenizer)
    with _aside(folder) as aside:
        model.to(written_dtype)  # type: ignore[arg-type]
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        del model
        (aside / "README.md").unlink(missing_ok=True)
        after = _logits(_loaded(str(aside)), tokenizer)
        _difference(expected, after, "writing and reading")
        if program is not None:
            _replace_by_gguf(program, aside, dtype)
    return Exported(
        dtype=dtype,
        largest_logit=float(before.abs().max()),
        largest_difference=float((after - before).abs().max()),
        merged_difference=merged,
        num_tokens=len(before),
        num_same_first=int((after.argmax(-1) == before.argmax(-1)).sum()),
    )


def _loaded(location: str) -> Any:
    """The model in float32, an adapter beside its base."""
    base = adapter_base(location)
    if base is None:
        return load_model(location).eval()
    model = load_model(base)
    try:
        return PeftModel.from_pretrained(model, location).eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"model: cannot put the adapter {location!r} on {base!r}: {first_line(error)}"
        ) from error


def _merged(model: PeftModel) -> PreTrainedModel:
    kind = str(getattr(model.active_peft_config.peft_type, "value", "adapter"))
    tuner: Any = model.base_model
    if not hasattr(tuner, "merge_and_unload"):
        raise UserError(
            f"--merge: an adapter of kind {kind} has no weights to add to its base's; leave it out"
        )
    try:
        merged: PreTrainedModel = tuner.merge_and_unload(safe_merge=True)
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"--merge: {kind} cannot be merged: {str(error)[:300]}") from error
    _untie(merged)
    return merged


def _untie(model: PreTrainedModel) -> None:
    """A head trained beside tied embeddings is another weight now, and must be read back as one."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    weights = [getattr(part, "weight", None) for part in (embeddings, head)]
    if weights[0] is None or weights[1] is None or weights[0] is weights[1]:
        return
    config = model.config.get_text_config()
    if getattr(config, "tie_word_embeddings", False):
        config.tie_word_embeddings = model.config.tie_word_embeddings = False


@torch.no_grad()
def _round(model: nn.Module, dtype: torch.dtype) -> None:
    """Give every weight the value that it will have in `dtype`, still in float32."""
    for value in model.parameters():
        value.copy_(value.to(dtype))


@torch.no_grad()
def _logits(model: Any, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Logits after every token of the prompts, (T, V), in float32."""
    # A tokenizer of few words may make nothing of some text.
    prompts = [ids for text in _PROMPTS if (ids := tokenizer(text)["input_ids"])] or [[0, 1, 2, 3]]
    outputs = (model(input_ids=torch.tensor([ids]), use_cache=False) for ids in prompts)
    return torch.cat([of_prompt.logits[0].float() for of_prompt in outputs])


def _difference(before: Tensor, after: Tensor, what: str) -> float:
    """The largest difference of a logit.

    Raises: UserError if it is more than rounding.
    """
    if not torch.isfinite(after).all():
        raise UserError(
            f"{what} makes logits that are not finite; float16 ends at 65504, so try --dtype bfloat16"
        )
    if before.shape != after.shape:
        raise UserError(f"{what} changes the vocabulary from {before.shape[1]} to {after.shape[1]}")
    difference = float((after - before).abs().max())
    if difference > _TOLERANCE * float(before.abs().max()):
        raise UserError(
            f"{what} changes the model: its logits differ by {difference:.2g}, where they reach "
            f"{float(before.abs().max()):.2g}; nothing was written"
        )
    return difference


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder to write into, that gets its name at the end, or is removed."""
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        runs.flush_all(aside)
        aside.rename(folder)
        runs.flush(folder.parent)
    except OSError as error:
        raise UserError(f"-o: {folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _replace_by_gguf(converter: Path, aside: Path, dtype: str) -> None:
    """Leave one file in place of the safetensors, which the converter reads."""
    file = aside.with_name(f"{aside.name}.gguf")
    try:
        convert(converter, aside, file, dtype)
        shutil.rmtree(aside)
        aside.mkdir()
        file.rename(aside / MODEL_FILE)
    finally:
        file.unlink(missing_ok=True)
