"""Small models that see images, random weights, and what their processors would hand them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.training.models import tokenizer

IMAGE = 123
"""The placeholder's id, after those of the tests' tokenizer."""

_TEXT: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 120,
    "pad_token_id": 121, "initializer_range": 0.2,
}  # fmt: skip
_EYES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Seeing:
    """A family of models that see images."""

    options: dict[str, Any]
    """Of its configuration."""

    inputs: Callable[[Tensor], dict[str, Tensor]]
    """What its forward takes for one image a row, beside the tokens (N, L)."""


def _pixels(ids: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(int(ids[0, -1]))
    return {"pixel_values": torch.randn(len(ids), 3, 16, 16, generator=generator)}


def _typed(ids: Tensor) -> dict[str, Tensor]:
    return {**_pixels(ids), "token_type_ids": (ids == IMAGE).long()}


def _several(ids: Tensor) -> dict[str, Tensor]:
    return {"pixel_values": _pixels(ids)["pixel_values"][:, None]}


def _patches(ids: Tensor) -> dict[str, Tensor]:
    patches = _pixels(ids)["pixel_values"].repeat(1, 2, 1, 1).reshape(len(ids) * 16, 96)
    return {
        "pixel_values": patches,
        "image_grid_thw": torch.tensor([[1, 4, 4]] * len(ids)),
        "mm_token_type_ids": (ids == IMAGE).long(),
    }


FAMILIES: dict[str, Seeing] = {
    "llava": Seeing(
        {
            "text_config": {"model_type": "llama", **_TEXT},
            "vision_config": {"model_type": "clip_vision_model", **_EYES, "patch_size": 8},
            "image_token_index": IMAGE,
            "image_seq_length": 4,
        },
        _pixels,
    ),
    "gemma3": Seeing(
        {
            "text_config": {**_TEXT, "head_dim": 8, "sliding_window": 16},
            "vision_config": {**_EYES, "patch_size": 8},
            "image_token_index": IMAGE,
            "boi_token_index": 124,
            "eoi_token_index": 125,
            "mm_tokens_per_image": 4,
        },
        _typed,
    ),
    "smolvlm": Seeing(
        {
            "text_config": {"model_type": "llama", **_TEXT},
            "vision_config": {**_EYES, "patch_size": 4},
            "image_token_id": IMAGE,
            "scale_factor": 2,
        },
        _several,
    ),
    "qwen2_vl": Seeing(
        {
            "text_config": {
                **_TEXT,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "mrope_section": [1, 1, 2],
                },
            },
            "vision_config": {
                "depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "mlp_ratio": 2,
            },
            "image_token_id": IMAGE,
            "video_token_id": 126,
            "vision_start_token_id": 124,
            "vision_end_token_id": 125,
        },
        _patches,
    ),
}  # fmt: skip


def seeing(kind: str, seed: int = 0) -> Any:
    """A model with random weights."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **FAMILIES[kind].options)
    return AutoModelForImageTextToText.from_config(config, attn_implementation="eager")


def rows(num_rows: int = 16) -> Dataset:
    """An image of four placeholders, between its marks, and eight tokens, all of them labels."""
    made = []
    for start in range(num_rows):
        ids = [1, 124, *4 * [IMAGE], 125, *((7 * start + 3 * place) % 120 for place in range(8))]
        made.append({"input_ids": ids, "labels": ids})
    return Dataset.from_list(made)


def collator(kind: str) -> Callable[[Any], dict[str, Tensor]]:
    """Batches of `rows` with an image each."""

    def collate(batch: Any) -> dict[str, Tensor]:
        ids = torch.tensor([row["input_ids"] for row in batch])
        labels = torch.tensor([row["labels"] for row in batch])
        made = {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}
        images = [FAMILIES[kind].inputs(ids[row : row + 1]) for row in range(len(ids))]
        return made | {name: torch.cat([each[name] for each in images]) for name in images[0]}

    return collate


def processor() -> LlavaProcessor:
    """LLaVA's own, with a chat template of one word a role."""
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    template = (
        "{% for message in messages %}{{ {'user': 'w1', 'assistant': 'w2'}[message['role']] }} "
        "{% for part in message['content'] %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'] }} {% endfor %}{% endfor %}"
    )
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def conversations(num_rows: int = 16, *, split: bool = False) -> Dataset:
    """Images with a question and an answer, as TRL takes them; with `split` as prompt and
    completion."""
    generator = numpy.random.default_rng(3)
    made = []
    for start in range(num_rows):
        image = Image.fromarray(generator.integers(0, 255, (20, 24, 3), dtype=numpy.uint8))
        question = [{"role": "user", "content": f"w{5 * start % 90} w7 w8"}]
        answer = [{"role": "assistant", "content": f"w{3 * start % 90} w11 w12 w13"}]
        row = (
            {"prompt": question, "completion": answer} if split else {"messages": question + answer}
        )
        made.append({"images": [image], **row})
    return Dataset.from_list(made)
