"""Families of chat models: the template as published, the special tokens, and what of it is learned."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from .chat_models import PLAIN, _byte_level_json

OWN = Path(__file__).parent / "chat_templates"
SPECIAL = re.compile(r"<\|[\w ]+\|>|<｜[\w▁]+｜>|</?s>|<\w+_of_turn>|<[A-Z_]+>|\[/?[A-Z_]{4,}\]")

CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


@dataclass(frozen=True, kw_only=True)
class Family:
    """A chat template, and how its model writes an answer."""

    template: str
    """Of a file, here or in TRL; none for ChatML."""
    end: str
    """What ends a turn, and is learned."""
    begin: str | None = None
    eos: str | None = None
    """The tokenizer's end token, where it is not what ends a turn."""
    before: str = ""
    """What a model says before an answer without reasoning."""
    reasoning: str | None = None
    """How reasoning is said, before the answer; None if the template leaves it out."""
    call: str | None = None
    """How a tool is called; None if the template has no tools."""
    call_end: str | None = None
    """What ends a call, where it is not `end`."""
    tools_left_out: bool = False
    system: bool = True
    """Whether the template has a place for it."""
    twice: bool = True
    """Whether it takes two assistant turns in a row."""
    rewrites: bool = False
    """Whether earlier turns are rendered differently once others follow."""

    @property
    def source(self) -> str:
        """The template; the test that needs one which this TRL lacks is skipped."""
        if not self.template:
            return PLAIN
        own = OWN / f"{self.template}.jinja"
        spec = find_spec("trl")
        assert spec is not None and spec.origin is not None
        theirs = Path(spec.origin).parent / "chat_templates" / own.name
        if not own.is_file() and not theirs.is_file():
            pytest.skip(f"this TRL has no template {self.template}")
        return (own if own.is_file() else theirs).read_text(encoding="utf-8")

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A byte-level tokenizer with the family's special tokens; with a begin token, every
        text gets it of the tokenizer's own accord."""
        eos = self.eos or self.end
        texts = {*SPECIAL.findall(self.source), *SPECIAL.findall(self.end), eos}
        texts |= {self.begin} if self.begin else set()
        inner = Tokenizer.from_str(_byte_level_json())
        inner.add_special_tokens(sorted(texts))
        if self.begin:
            number = inner.token_to_id(self.begin)
            inner.post_processor = processors.TemplateProcessing(
                single=f"{self.begin} $A", special_tokens=[(self.begin, number)]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=inner,
            bos_token=self.begin,
            eos_token=eos,
            extra_special_tokens=sorted(texts - {eos, self.begin}),
            chat_template=self.source,
        )


LLAMA: dict[str, Any] = {
    "begin": "<|begin_of_text|>",
    "end": "<|eot_id|>",
    "call": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
}
HERMES = f"<tool_call>\n{CALL}\n</tool_call>"
FAMILIES = {
    "llama 3.1": Family(template="llama3_1", **LLAMA),
    "llama 3.2": Family(template="llama3_2", **LLAMA),
    "qwen 2.5": Family(template="qwen2_5", end="<|im_end|>", eos="<|endoftext|>", call=HERMES),
    "qwen 3": Family(
        template="qwen3",
        end="<|im_end|>",
        before="<think>\n\n</think>\n\n",
        reasoning="<think>\nTwo and three.\n</think>\n\n",
        call=HERMES,
        twice=False,
        rewrites=True,
    ),
    # Its prompt for an answer opens the reasoning.
    "qwen 3.5": Family(
        template="qwen3_5_think",
        end="<|im_end|>",
        before="\n</think>\n\n",
        reasoning="Two and three.\n</think>\n\n",
        call="<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
        "</function>\n</tool_call>",
        rewrites=True,
    ),
    "mistral v3": Family(
        template="mistral_v3_tekken",
        begin="<s>",
        end="</s>",
        call=f'[TOOL_CALLS][{CALL[:-1]}, "id": "abcdef123"}}]',
        system=False,
        twice=False,
    ),
    "mistral v7": Family(template="mistral_v7_tekken", begin="<s>", end="</s>"),
    "gemma 2": Family(
        template="gemma", begin="<bos>", end="<end_of_turn>", eos="<eos>", system=False, twice=False
    ),
    "gemma 3": Family(
        template="gemma3", begin="<bos>", end="<end_of_turn>", eos="<eos>", twice=False
    ),
    # The end token stands once after the whole, behind the end of the last turn.
    "phi 3": Family(template="phi3", end="<|end|>", eos="<|endoftext|>"),
    "phi 3.5": Family(template="phi3_5", end="<|end|>", eos="<|endoftext|>"),
    "phi 4": Family(template="phi_4", end="<|im_end|>", eos="<|endoftext|>"),
    "deepseek v3": Family(
        template="deepseekv3_training",
        begin="<｜begin▁of▁sentence｜>",
        end="<｜end▁of▁sentence｜>",
        call="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        '```json\n{"city": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        tools_left_out=True,
    ),
    "chatml (smollm)": Family(
        template="",
        end="<|im_end|>",
        reasoning="<think>\nTwo and three.\n</think>\n\n",
        call=HERMES,
    ),
    "granite": Family(template="granite", end="<|end_of_text|>", call=f"<|tool_call|>[{CALL}]"),
    "command r": Family(
        template="cohere", begin="<BOS_TOKEN>", end="<|END_OF_TURN_TOKEN|>", twice=False
    ),
    "command r7b": Family(
        template="cohere2",
        begin="<BOS_TOKEN>",
        end="<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
        twice=False,
    ),
    "gpt-oss": Family(
        template="gptoss",
        end="<|return|>",
        before="<|channel|>final<|message|>",
        reasoning="<|channel|>analysis<|message|>Two and three.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>",
        call=' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris"}',
        call_end="<|call|>",
        rewrites=True,
    ),
}
