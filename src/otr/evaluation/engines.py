"""What generates answers: transformers, or vLLM where it is installed."""

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from otr.errors import UserError
from otr.evaluation.generation import (
    BatchSizes,
    Running,
    TransformersEngine,
    encoded,
    end_tokens,
    num_positions,
)
from otr.evaluation.requests import Engine, Generated, Key, Request
from otr.pretrained import adapter_base, load_model

ENGINES = ("transformers", "vllm")

_VLLM_ROWS = 1024
"""Requests that vLLM is given at once: it batches them itself, and what it has answered is kept
when all of these are."""


def check_engine(name: str, num_processes: int) -> None:
    """Raise UserError if an engine is not known or not there."""
    if name not in ENGINES:
        raise UserError(f"engine: must be {' or '.join(ENGINES)}, is {name!r}")
    if name == "vllm" and find_spec("vllm") is None:
        raise UserError("engine: vllm is not installed; `pip install vllm`, or leave --engine out")
    if name == "vllm" and num_processes > 1:
        raise UserError("engine: vllm has processes of its own; start one, without torchrun")


def precision(device: str) -> torch.dtype:
    """The numbers a model computes with: 16 bits on a GPU, 32 elsewhere."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def load_engine(
    name: str,
    location: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: str,
    end_texts: Sequence[str] = (),
    sizes: BatchSizes | None = None,
    running: Running | None = None,
) -> Engine:
    """An engine with a model; `running` is told how far a batch of transformers is.

    Raises: UserError if the model cannot be loaded.
    """
    if name == "vllm":
        return VllmEngine(location, tokenizer, device=device, end_texts=end_texts)
    # `nn.Module.to` returns its own type; transformers' stubs of it do not say so.
    model: Any = load_model(location, dtype=precision(device))
    model.to(device).eval()
    return TransformersEngine(model, tokenizer, end_texts=end_texts, sizes=sizes, running=running)


class VllmEngine:
    """Answers requests with vLLM, under the same sampling parameters: top-k and top-p cut nothing,
    the model's own defaults have no say, and each request has a seed of its own.

    Its random numbers are not those of transformers: greedy answers are the same up to rounding,
    sampled ones are other draws from the same distribution.
    """

    def __init__(
        self,
        location: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str,
        end_texts: Sequence[str] = (),
    ) -> None:
        if adapter_base(location) is not None:
            raise UserError("engine: vllm takes whole models; merge the adapter, or leave it out")
        # Not a dependency: the module is only there where it was installed.
        self.vllm: Any = import_module("vllm")
        self.tokenizer = tokenizer
        self.num_positions = num_positions(
            AutoConfig.from_pretrained(location, trust_remote_code=False)
        )
        try:
            own = GenerationConfig.from_pretrained(location)
        except OSError:
            own = GenerationConfig()
        self.end_tokens = end_tokens(tokenizer, end_texts, own)
        self.model = self.vllm.LLM(
            model=location,
            tokenizer=location,
            dtype=str(precision(device)).removeprefix("torch."),
            # The sampling defaults of the model's generation_config.json are not used.
            generation_config="vllm",
        )

    def answer(
        self,
        requests: Sequence[Request],
        on_answer: Callable[[Request, Generated], None],
        *,
        done: Collection[Key] = frozenset(),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """As `Engine.answer`.

        Raises: UserError if a prompt fills the model's positions.
        """
        missing = [request for request in requests if request.key not in done]
        for start in range(0, len(missing), _VLLM_ROWS):
            if should_stop():
                return False
            part = missing[start : start + _VLLM_ROWS]
            prompts = [encoded(self.tokenizer, request, self.num_positions) for request in part]
            outputs = self.model.generate(
                [{"prompt_token_ids": ids} for ids in prompts],
                [
                    self._parameters(request, len(ids))
                    for request, ids in zip(part, prompts, strict=True)
                ],
                use_tqdm=False,
            )
            for request, output in zip(part, outputs, strict=True):
                answer = output.outputs[0]
                on_answer(
                    request,
                    Generated(
                        text=answer.text,
                        num_tokens=len(answer.token_ids),
                        truncated=answer.finish_reason == "length",
                    ),
                )
        return True

    def _parameters(self, request: Request, prompt_length: int) -> Any:
        return self.vllm.SamplingParams(
            n=1,
            temperature=request.temperature,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            max_tokens=min(request.max_new_tokens, self.num_positions - prompt_length),
            stop=list(request.stop),
            stop_token_ids=sorted(self.end_tokens),
            seed=request.random_words(1)[0] >> 1,
            skip_special_tokens=True,
            include_stop_str_in_output=False,
        )
