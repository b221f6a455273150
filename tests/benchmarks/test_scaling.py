"""docs/scaling.md: from code and committed figures alone, and counted as whole models are."""

from pathlib import Path

import pytest
from transformers import AutoConfig

from benchmarks.scaling.architectures import ARCHITECTURES, LORA_RANK, shape
from benchmarks.scaling.report import DOCUMENT, RESULTS, document, errors
from otr import runs
from otr.training.shape import model_on_meta, shape_of

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_page_is_what_the_model_and_the_figures_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("lora_rank", [None, LORA_RANK])
def test_two_layers_tell_of_all(lora_rank: int | None) -> None:
    kind, numbers = ARCHITECTURES["Qwen2.5-3B"]
    whole = shape_of(model_on_meta(AutoConfig.for_model(kind, **numbers), lora_rank))
    assert shape("Qwen2.5-3B", lora_rank) == whole


def test_published_sizes_are_met() -> None:
    sizes = {name: shape(name).num_params / 1e9 for name in ARCHITECTURES}
    assert sizes["Qwen2.5-3B"] == pytest.approx(3.09, abs=0.005)
    assert sizes["Llama-3.1-8B"] == pytest.approx(8.03, abs=0.005)
    assert sizes["Llama-3.1-70B"] == pytest.approx(70.6, abs=0.05)


def test_gradients_on_the_network_are_those_that_were_handed_over() -> None:
    for path in sorted(Path(RESULTS).glob("*.json")):
        sent = [case for case in errors(runs.read_json(path)) if case["network"][0]]
        assert sent
        for case in sent:
            predicted, counted = case["network"]
            # Of two processes each sends what it holds.
            assert predicted == counted
