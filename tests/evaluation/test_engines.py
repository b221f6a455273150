"""vLLM, of which a module with its public interface stands in here: it notes what it is given, and
answers through transformers."""

import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from otr.errors import UserError
from otr.evaluation import engines
from otr.evaluation.generation import TransformersEngine
from otr.evaluation.pipeline import evaluate
from otr.evaluation.requests import Request
from otr.pretrained import load_model, load_tokenizer
from otr.runs import read_jsonl


@dataclass
class SamplingParams:
    """Those fields of vllm.SamplingParams that a request may set, with its defaults."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False


@dataclass
class Stub:
    """What the stand-in was given."""

    built: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[list[int], SamplingParams]] = field(default_factory=list)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()

    class LLM:
        def __init__(
            self, model: str, *, tokenizer: str, dtype: str, generation_config: str
        ) -> None:
            stub.built.append({"model": model, "dtype": dtype, "config": generation_config})
            self.tokenizer = load_tokenizer(tokenizer)
            self.engine = TransformersEngine(load_model(model).eval(), self.tokenizer)

        def generate(
            self, prompts: list[dict[str, Any]], sampling_params: list[SamplingParams], *,
            use_tqdm: bool = True,
        ) -> list[Any]:  # fmt: skip
            outputs: dict[str, Any] = {}
            for number, (prompt, given) in enumerate(zip(prompts, sampling_params, strict=True)):
                stub.asked.append((prompt["prompt_token_ids"], given))
                request = Request(
                    benchmark="vllm",
                    question=str(number),
                    prompt=str(self.tokenizer.decode(prompt["prompt_token_ids"])),
                    stop=tuple(given.stop or ()),
                    max_new_tokens=given.max_tokens or 16,
                    temperature=given.temperature,
                    seed=given.seed or 0,
                )

                def note(one: Request, answer: Any) -> None:
                    completion = SimpleNamespace(
                        text=answer.text,
                        token_ids=[0] * answer.num_tokens,
                        finish_reason="length" if answer.truncated else "stop",
                    )
                    outputs[one.question] = SimpleNamespace(outputs=[completion])

                self.engine.answer([request], note)
            return [outputs[str(number)] for number in range(len(prompts))]

    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    return stub


def test_greedy_answers_through_vllm_are_those_through_transformers(
    vllm: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_VLLM_ROWS", 5)
    for engine in engines.ENGINES:
        evaluate("demo-mid", ["demo/longer"], limit=8, output=tmp_path / engine, engine=engine)
    one, other = (list(read_jsonl(tmp_path / name / "answers.jsonl")) for name in engines.ENGINES)
    assert one == other
    assert [built["dtype"] for built in vllm.built] == ["float32"]
    # Nothing of the model's own sampling defaults.
    assert vllm.built[0]["config"] == "vllm"


def test_every_sampling_parameter_is_given_to_vllm(vllm: Stub, tmp_path: Path) -> None:
    tokenizer = load_tokenizer("demo-mid")
    scores = evaluate(
        "demo-mid", ["demo/longer"], limit=3, output=tmp_path, engine="vllm",
        samples=2, temperature=0.7, seed=4,
    )["demo/longer"]  # fmt: skip
    assert (scores["engine"], scores["temperature"]) == ("vllm", 0.7)
    rows = list(read_jsonl(tmp_path / "answers.jsonl"))
    assert [ids for ids, _ in vllm.asked] == [tokenizer(row["prompt"])["input_ids"] for row in rows]
    for _, given in vllm.asked:
        assert given.seed is not None and 0 <= given.seed < 2**31
        expected = SamplingParams(
            temperature=0.7, top_p=1.0, top_k=0, seed=given.seed, stop=[], max_tokens=48,
            stop_token_ids=[0, 3],
        )  # fmt: skip
        assert given == expected
    assert len({given.seed for _, given in vllm.asked}) == 6
    before = [given.seed for _, given in vllm.asked]
    vllm.asked.clear()
    evaluate(
        "demo-mid", ["demo/longer"], limit=3, output=tmp_path, engine="vllm", restart=True,
        samples=2, temperature=0.7, seed=4,
    )  # fmt: skip
    assert [given.seed for _, given in vllm.asked] == before


def test_stop_texts_and_the_room_that_is_left_are_given_to_vllm(vllm: Stub) -> None:
    engine = engines.load_engine(
        "vllm", load_location(), load_tokenizer("demo"), device="cpu", end_texts=["<|im_end|>"]
    )
    answers = []
    assert isinstance(engine, engines.VllmEngine)
    engine.num_positions = 60
    asked = Request(
        benchmark="some", question="some/0", prompt="add 1 2 and 3 4 :", stop=("ans",),
        max_new_tokens=100,
    )  # fmt: skip
    engine.answer([asked], lambda _, answer: answers.append(answer))
    ((ids, given),) = vllm.asked
    assert given.stop == ["ans"]
    assert given.max_tokens == 60 - len(ids)
    assert given.stop_token_ids == [0, 3]
    assert "ans" not in answers[0].text and not answers[0].truncated


def load_location() -> str:
    from otr.pretrained import model_location

    return model_location("demo")


def test_engines_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="engine: must be transformers or vllm, is 'tgi'"):
        evaluate("demo", ["demo/longer"], engine="tgi")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install vllm"):
        evaluate("demo", ["demo/longer"], engine="vllm")
