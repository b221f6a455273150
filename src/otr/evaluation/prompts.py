"""From questions to what a model sees: plain text, or a conversation under its chat template."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from otr.demo.tokenizer import CHAT_TEMPLATE
from otr.errors import UserError, first_line
from otr.evaluation.benchmarks import Benchmark, Question
from otr.evaluation.requests import Request
from otr.pretrained import special_texts
from otr.runs import AUDIT, CONFIG, read_json, read_yaml

STYLES = ("base", "chat")

_REPLY = "ANSWER"


class Prompts:
    """Makes prompts in one style.

    `style` None takes `chat` for a run that was trained on conversations, else `base`.
    Raises: UserError if a style is unknown, or the model has no chat template.
    """

    def __init__(
        self, model_or_run: str, tokenizer: PreTrainedTokenizerBase, style: str | None = None
    ) -> None:
        if style not in (None, *STYLES):
            raise UserError(f"prompt: must be base or chat, is {style!r}")
        data = _data_section(Path(model_or_run))
        self.style = style or ("chat" if _was_trained_on_turns(model_or_run, data) else "base")
        self.tokenizer = tokenizer
        self.leaves_template = (
            style is None and self.style == "base" and not data and _is_chat(tokenizer)
        )
        """Whether a chat model that is no run of ours is asked in plain text, and nobody said so."""
        self.variables = dict(data.get("chat_template_kwargs") or {})
        if self.style == "chat" and not tokenizer.chat_template:
            raise UserError("prompt: the model has no chat template, so give --prompt base")

    @property
    def end_texts(self) -> tuple[str, ...]:
        """The special tokens with which the chat template ends a reply."""
        if self.style == "base":
            return ()
        turns = ({"role": "user", "content": "?"}, {"role": "assistant", "content": _REPLY})
        rest = self._rendered(turns, add_generation_prompt=False).rpartition(_REPLY)[2]
        found = [text for text in special_texts(self.tokenizer) if text in rest]
        # Of two that begin at one place, the longer is what stands there.
        return tuple(sorted(found, key=lambda text: (rest.index(text), -len(text)))[:1])

    def of(self, question: Question) -> str:
        """What the model sees of a question."""
        if self.style == "base":
            return question.prompt
        turns = question.messages or ({"role": "user", "content": question.prompt.strip()},)
        try:
            return self._rendered(turns, add_generation_prompt=True)
        except UserError as error:
            raise UserError(f"{question.id}: {error}") from None

    def requests(
        self, benchmark: Benchmark, *, samples: int, temperature: float, seed: int
    ) -> Iterator[Request]:
        """One for each sample of each question. Stop texts are for plain text: a reply in a
        conversation has an end of its own."""
        stop = benchmark.stop if self.style == "base" else ()
        for question in benchmark.questions:
            prompt = self.of(question)
            for sample in range(samples):
                yield Request(
                    benchmark=benchmark.name,
                    question=question.id,
                    sample=sample,
                    prompt=prompt,
                    is_rendered=self.style == "chat",
                    stop=stop,
                    max_new_tokens=benchmark.max_new_tokens,
                    temperature=temperature,
                    seed=seed,
                )

    def _rendered(self, turns: Sequence[Mapping[str, str]], **options: Any) -> str:
        messages = [dict(turn) for turn in turns]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, **options, **self.variables
                )
            )
        except Exception as error:
            # A template is a program of the model's maker, and may raise anything.
            raise UserError(f"the model's chat template refuses it: {first_line(error)}") from None


def _is_chat(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model has a chat template; the embedded ones have it and are base models all the
    same."""
    return tokenizer.chat_template not in (None, CHAT_TEMPLATE)


def _was_trained_on_turns(model_or_run: str, data: Mapping[str, Any]) -> bool:
    """Whether a run's data were conversations, named as such or recognised."""
    audit = Path(model_or_run) / AUDIT
    kind = read_json(audit).get("kind") if audit.is_file() else None
    return kind == "messages" or data.get("messages") is not None


def _data_section(folder: Path) -> dict[str, Any]:
    """The `data:` section of a run folder's configuration; empty for what is not a run."""
    if not (folder / CONFIG).is_file():
        return {}
    section = read_yaml(folder / CONFIG).get("data")
    return dict(section) if isinstance(section, dict) else {}
