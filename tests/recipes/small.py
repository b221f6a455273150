"""What a recipe asks for, small: models built alike, tokenizers with templates of the same kind,
and rows in the columns and types of the public data."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerBase

from benchmarks.scaling.architectures import ARCHITECTURES, name_of
from otr import runs
from otr.training.config import Data
from tests.training.chat_models import byte_level

# A system message of its own where the conversation has none, as in Qwen2.5.
QWEN25 = """
{%- if messages[0].role != 'system' %}<|im_start|>system
Be helpful.<|im_end|>
{% endif %}
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ 'user' if message.role == 'tool' else message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Reasoning is taken out of the content; it stays in the turns after the last question and goes
# from the others, as in Qwen3.
QWEN3 = """
{%- set ns = namespace(last=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}
{%- endif %}{% endfor %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}
{%- set parts = message.content.split('</think>') %}
{%- if loop.index0 > ns.last %}<think>
{{ parts[0].split('<think>')[-1].strip('\\n') if parts | length > 1 else '' }}
</think>

{% endif %}{{ parts[-1].lstrip('\\n') }}
{%- else %}{{ message.content }}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""
_TEMPLATES = {"qwen2": QWEN25, "qwen3": QWEN3}

TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def write_model(hub_id: str, folder: Path) -> None:
    """A model of the architecture of one on the hub, tied or not as that is, with its tokenizer's
    kind of end token and template."""
    kind, numbers = ARCHITECTURES[name_of(hub_id)]
    tokenizer = _tokenizer(kind, is_tuned=hub_id.endswith("-Instruct"))
    tiny = {key: value for key, value in TINY.items() if key in numbers}
    config = AutoConfig.for_model(
        kind,
        # Some rows more than the tokenizer has words, as in the public models.
        **{**numbers, **tiny, "vocab_size": len(tokenizer) + 9},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(kind: str, *, is_tuned: bool) -> PreTrainedTokenizerBase:
    tokenizer = byte_level(pad="<|endoftext|>")
    tokenizer.chat_template = _TEMPLATES[kind]
    tokenizer.eos_token = "<|im_end|>" if is_tuned else "<|endoftext|>"
    return tokenizer


def write_rows(data: Data, folder: Path) -> Path:
    """Rows for a recipe's data section, one of them too long where these are dropped."""
    counts = [1, 2, 3, 4, 5] + [400] * (data.overlong == "drop")
    if data.train == "open-r1/OpenR1-Math-220k":
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist([_openr1(n) for n in counts], OPENR1), folder / "rows.parquet"
        )
        return folder / "rows.parquet"
    if data.messages is not None:
        rows = [_chat(data.messages, n) for n in counts]
    else:
        assert isinstance(data.prompt, str) and data.completion is not None
        rows = [{data.prompt: f"What is {n}?", data.completion: f"It is {n}. " * n} for n in counts]
    runs.write_jsonl(folder / "rows.jsonl", rows)
    return folder / "rows.jsonl"


_TEXTS, _TRUTHS = pyarrow.list_(pyarrow.string()), pyarrow.list_(pyarrow.bool_())
OPENR1 = pyarrow.schema(
    {
        **dict.fromkeys(("problem", "solution", "answer", "problem_type", "question_type"), pyarrow.string()),
        **dict.fromkeys(("source", "uuid"), pyarrow.string()),
        "is_reasoning_complete": _TRUTHS,
        "generations": _TEXTS,
        "correctness_math_verify": _TRUTHS,
        "correctness_llama": _TRUTHS,
        "finish_reasons": _TEXTS,
        "correctness_count": pyarrow.int64(),
        "messages": pyarrow.list_(
            pyarrow.struct({"content": pyarrow.string(), "role": pyarrow.string()})
        ),
    }
)  # fmt: skip
"""The columns of OpenR1-Math-220k and their types."""


def _openr1(n: int) -> dict[str, Any]:
    problem = f"Find the sum of ${n}$ and $7$."
    answer = (
        f"<think>\nI add. {n} + 7. " + "Again. " * n + f"\n</think>\n\nIt is $\\boxed{{{n + 7}}}$."
    )
    return {
        "problem": problem, "solution": f"${n + 7}$", "answer": str(n + 7),
        "problem_type": "Algebra", "question_type": "math-word-problem", "source": "olympiads",
        "uuid": f"uuid-{n}", "is_reasoning_complete": [True, True], "generations": [answer, answer],
        "correctness_math_verify": [True, False], "correctness_llama": None, "finish_reasons": None,
        "correctness_count": 1,
        "messages": [
            {"content": problem, "role": "user"}, {"content": answer, "role": "assistant"},
        ],
    }  # fmt: skip


NOT_LEARNED = "Never learn this"


def _chat(column: str, n: int) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": n, "b": 7}}}
    return {
        column: [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": f"What is {n} + 7?"},
            {"role": "assistant", "content": f"{NOT_LEARNED}: {n}.", "weight": 0},
            {"role": "user", "content": "Are you sure?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": str(n + 7)},
            {"role": "assistant", "content": f"It is {n + 7}. " * n, "weight": 1},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
    }  # fmt: skip
