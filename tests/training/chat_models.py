"""Small tokenizers and chat templates of the kinds that models come with."""

from functools import cache
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

DATA = Path(__file__).parents[2].parent / "shared" / "data"

TEXT = [
    "Natalia sold clips to 48 of her friends in April. How many did she sell? #### 72",
    "The answer is 5.\n\nHello, what is the weather like? It is sunny: 21 degrees.",
    '{"name": "get_weather", "arguments": {"city": "Paris"}} <think> </think> system user',
]
SPECIAL = [
    "<unk>",
    "<s>",
    "</s>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]

# ChatML with tools, reasoning and tool calls, all of it kept in every turn.
CHATML = r"""
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}{% generation %}
{%- if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>{% endgeneration %}
{%- else %}{{ message.content }}<|im_end|>
{%- endif %}{{ '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
MARKED = CHATML
PLAIN = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
# Markers around the content alone, as many published templates have them.
MARKED_WITHOUT_END = CHATML.replace(
    "<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>"
)
# Reasoning is dropped from the turns before the last user message, as Qwen3 does.
FORGETFUL = """
{%- set ns = namespace(last=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}
{%- endif %}{% endfor %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content and loop.index0 > ns.last %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Begins with the begin token and strips the contents, as Llama 3 does.
HEADERS = """
{%- for message in messages %}{{ bos_token if loop.first else '' }}<|start_header_id|>
{{- message.role }}<|end_header_id|>

{{ message.content | trim }}<|eot_id|>{% endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
WITHOUT_SYSTEM = """
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# No token ends a turn.
ENDLESS = """
{%- for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}
{%- if add_generation_prompt %}assistant: {% endif %}"""


def byte_level(
    template: str | None = None, *, begin: str | None = None, pad: str | None = None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the words of ChatML and Llama 3.

    With `begin`, every text gets it of the tokenizer's own accord.
    """
    inner = Tokenizer.from_str(_byte_level_json())
    if begin:
        number = inner.token_to_id(begin)
        inner.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, number)]
        )
    end = "<|eot_id|>" if template is HEADERS else "<|im_end|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=begin,
        eos_token=end if template else "<|endoftext|>",
        pad_token=pad,
        chat_template=template,
    )


def metaspace() -> PreTrainedTokenizerFast:
    """A tokenizer of the SentencePiece kind, as Llama 2 has it: a blank before every text."""
    inner = Tokenizer.from_str(_metaspace_json())
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@cache
def _byte_level_json() -> str:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    # Line breaks are to join, so that a token can straddle the prompt's last one.
    inner.train_from_iterator([*TEXT * 4, *["a\n\n\nb"] * 20], trainer)
    return inner.to_str()


@cache
def _metaspace_json() -> str:
    inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    inner.train_from_iterator(
        TEXT * 4,
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))],
            show_progress=False,
        ),
    )
    return inner.to_str()
