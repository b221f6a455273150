"""A telling dozen of `make families`, and the page of its results."""

import os
from typing import Any

import pytest

from families import matrix
from families.architectures import Architecture, architectures
from families.matrix import NOT_BUILT, PASSES, REFUSED, outcome, tried
from families.overrides import OVERRIDES
from families.report import DOCUMENT, RESULTS, document
from families.step import compared, enliven, make_trainer
from families.tiny import tiny_model
from otr import runs
from otr.training.head_transform import HeadTransform

pytestmark = pytest.mark.filterwarnings("ignore")

KNOWN = {each.model_type: each for each in architectures()}


@pytest.mark.parametrize(
    ("model_type", "head", "mixture"),
    [
        ("gpt2", {"tied": True}, False),
        ("bert", {"biased": True, "tied": True}, False),
        ("cohere", {"scale": 0.25}, False),
        ("granitemoe", {"scale": 1 / 3}, True),
        ("gemma3_text", {"softcap": 3.0}, False),
        ("falcon_h1", {"scale": 0.5}, False),
        ("mamba2", {"tied": False}, False),
        ("qwen3_5_moe_text", {"scale": 1.0}, True),
        ("inkling_text", {"cut": True}, False),
        ("muse_glimmer", {"scale": 0.5, "softcap": 3.0}, False),
        ("qwen3_vl_moe", {"scale": 1.0}, True),
        # Its head is named by the language model inside it alone.
        ("nemotron_h_omni", {"biased": False}, False),
    ],
)
def test_loss_and_gradients_are_those_of_the_full_logits(
    model_type: str, head: dict[str, Any], mixture: bool
) -> None:
    found = outcome(KNOWN[model_type])
    assert found.status == PASSES, found.reason
    assert found.head is not None and found.step is not None
    assert {name: found.head[name] for name in head} == pytest.approx(head, rel=1e-5)
    assert (found.step["aux_loss"] is not None) == mixture
    assert found.step["num_gradients"] > 10


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("xlnet", "depends on later ones"),
        ("prophetnet", "one state a token is expected"),
        ("musicgen", "by ModuleList, not by a plain linear layer"),
        ("chameleon", "neither a factor nor a softcap"),
        ("udop", "is an encoder and a decoder"),
        ("kosmos-2", "does not run on tokens alone"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_a_reason(model_type: str, reason: str) -> None:
    found = outcome(KNOWN[model_type])
    assert found.status == REFUSED and reason in found.reason


def test_a_router_s_loss_that_would_not_be_weighed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OVERRIDES, "jetmoe", {"output_router_logits": True})
    found = outcome(KNOWN["jetmoe"])
    assert found.status == REFUSED
    assert "coefficient that is not called router_aux_loss_coef" in found.reason


@pytest.mark.parametrize("model_type", ["cohere", "gemma2", "inkling_text"])
def test_a_transform_left_out_would_be_noticed(model_type: str) -> None:
    model = tiny_model(KNOWN[model_type])
    enliven(model)
    trainer = make_trainer(model)
    assert trainer.logit_transform != HeadTransform()
    trainer.logit_transform = HeadTransform()
    assert compared(trainer, model).gradient_error > 1e-2


def test_an_architecture_that_kills_its_process_or_never_ends_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(architecture: Architecture) -> None:
        while True:
            pass

    monkeypatch.setattr(matrix, "SECONDS_EACH", 0.5)
    monkeypatch.setattr(matrix, "outcome", never)
    (slow,) = tried([KNOWN["llama"]])
    monkeypatch.setattr(matrix, "SECONDS_EACH", 20)
    monkeypatch.setattr(matrix, "outcome", lambda architecture: os._exit(3))
    (dead,) = tried([KNOWN["gpt2"]])
    assert (slow.status, slow.reason) == (NOT_BUILT, "took more than 0.5 seconds")
    assert (dead.status, dead.reason) == (NOT_BUILT, "its process ended with 3")


def test_every_architecture_was_tried_and_none_trains_wrongly() -> None:
    results = runs.read_json(RESULTS)["architectures"]
    assert [each["model_type"] for each in results] == list(KNOWN)
    statuses = [each["status"] for each in results]
    assert set(statuses) == {PASSES, REFUSED, NOT_BUILT}
    assert statuses.count(PASSES) >= 200
    for each in results:
        assert (each["status"] == PASSES) != bool(each["reason"])


def test_the_page_is_what_the_results_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()
