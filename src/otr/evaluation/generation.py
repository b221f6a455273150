"""Batched generation: left padding, prompts of similar length together, each stopped at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from otr.errors import UserError

Progress = Callable[[int, int], None]
"""Told how many answers are done, and how many there will be."""

_CACHE_MB = 1024
_MAX_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One generated answer."""

    text: str
    """Without the prompt and without special tokens."""

    num_tokens: int
    """Tokens drawn, the end token among them."""

    truncated: bool
    """Whether the length limit came before an end token."""


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    *,
    max_new_tokens: int,
    samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[list[Generated]]:
    """`samples` answers to each prompt, in the order of the prompts.

    Temperature 0 takes the likeliest token; above 0 draws from softmax(logits / temperature),
    uncut. The model's own generation defaults (top-k, penalties) are not used, its end tokens
    are. The same seed draws the same answers on the same machine.
    Raises: UserError if a prompt fills the model's positions.
    """
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    longest = max(len(ids) for ids in encoded)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        if longest >= positions:
            raise UserError(
                f"a prompt has {longest} tokens, and the model has {positions} positions"
            )
        max_new_tokens = min(max_new_tokens, positions - longest)
    config = _generation_config(model, tokenizer, max_new_tokens, temperature)
    rows = [index for index in range(len(prompts)) for _ in range(samples)]
    rows.sort(key=lambda index: len(encoded[index]), reverse=True)
    answers: list[list[Generated]] = [[] for _ in prompts]
    num_rows = _rows_that_fit(model, longest + max_new_tokens)
    with torch.random.fork_rng(devices=_cuda_devices(model)), torch.inference_mode():
        torch.manual_seed(seed)
        for start in range(0, len(rows), num_rows):
            batch = rows[start : start + num_rows]
            for index, answer in zip(
                batch,
                _generate_batch(model, tokenizer, [encoded[index] for index in batch], config),
                strict=True,
            ):
                answers[index].append(answer)
            if progress is not None:
                progress(start + len(batch), len(rows))
    return answers


def _generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[list[int]],
    config: GenerationConfig,
) -> list[Generated]:
    """Answers to one batch of encoded prompts."""
    width = max(len(ids) for ids in encoded)
    fill = config.pad_token_id
    prompt_BT = torch.tensor(
        [[fill] * (width - len(ids)) + ids for ids in encoded], device=model.device
    )
    mask_BT = torch.tensor(
        [[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded], device=model.device
    )
    # The stubs take `generate` of a general model for one of its tensors.
    continue_prompts: Any = model.generate
    drawn_BT = continue_prompts(
        input_ids=prompt_BT, attention_mask=mask_BT, generation_config=config
    )[:, width:]
    ends = set(config.eos_token_id)
    answers = []
    for drawn in drawn_BT.tolist():
        length = next((place for place, token in enumerate(drawn) if token in ends), None)
        kept = drawn if length is None else drawn[:length]
        answers.append(
            Generated(
                text=str(tokenizer.decode(kept, skip_special_tokens=True)),
                num_tokens=len(kept) + (length is not None),
                truncated=length is None,
            )
        )
    return answers


def _generation_config(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
    temperature: float,
) -> GenerationConfig:
    own: Any = model.generation_config.eos_token_id if model.generation_config else None
    of_tokenizer: Any = tokenizer.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), of_tokenizer} - {None}
    if not ends:
        raise UserError("the model has no end token, so its answers would never end")
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends),
        **sampling,
    )
    # What this leaves open, `generate` would otherwise fill from the model's own defaults.
    model.generation_config = config
    return config


def _rows_that_fit(model: PreTrainedModel, num_positions: int) -> int:
    """How many rows keep the key-value cache under its share of memory."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    cached_heads = getattr(config, "num_key_value_heads", None) or heads
    element_bytes = torch.finfo(model.dtype).bits // 8
    token_bytes = 2 * config.num_hidden_layers * cached_heads * head_width * element_bytes
    budget_mb = _CACHE_MB
    if model.device.type == "cuda":
        budget_mb = torch.cuda.mem_get_info(model.device)[0] // 2**20 // 3
    return max(1, min(_MAX_ROWS, budget_mb * 2**20 // (token_bytes * num_positions)))


def _cuda_devices(model: PreTrainedModel) -> list[torch.device]:
    return [model.device] if model.device.type == "cuda" else []
