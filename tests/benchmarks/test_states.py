"""States of trained models: what is held out, and what is said about them."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from benchmarks import states, texts
from benchmarks.cases import Case, States, fitted, make_inputs
from otr.lm_head import IGNORED

pytestmark = pytest.mark.filterwarnings("ignore")


def test_no_text_is_both_seen_and_held_out() -> None:
    for kind in texts.texts():
        assert kind.seen and kind.held_out
        assert not set(kind.seen) & set(kind.held_out), kind.kind


def test_the_shares_are_those_of_the_labels_probabilities() -> None:
    # Logits (x, 0) give the first word the probability 1 / (1 + e^-x).
    chances = [0.5, 0.95, 0.995, 0.9995]
    logits_T2 = torch.tensor([[math.log(p / (1 - p)), 0.0] for p in chances])
    made = States(
        hidden_TD=logits_T2,
        weight_VD=torch.eye(2),
        labels_T=torch.zeros(4, dtype=torch.int64),
        description={},
    )
    found = states.label_probability(made)
    assert found["mean_nll"] == pytest.approx(-sum(map(math.log, chances)) / 4, rel=1e-5)
    shares = [found[f"share_above_{threshold}"] for threshold in (0.9, 0.99, 0.999, 0.9999)]
    assert shares == [0.75, 0.5, 0.25, 0]


def test_a_trained_model_gives_states_and_the_words_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_CACHE", tmp_path)
    kinds = [
        dataclasses.replace(kind, seen=kind.seen[:200], held_out=kind.held_out[:200])
        for kind in texts.texts()[:1]
    ]
    monkeypatch.setattr(states, "texts", lambda: kinds)
    training = states.Training(
        width=64, vocabulary=600, length=32, num_steps=20, learning_rate=5e-3
    )
    said: list[str] = []
    first = states.trained_states(training, "cpu", said.append)
    again = states.trained_states(training, "cpu", said.append)
    assert len(said) == 1 and "step 20 of 20" in said[0]
    for name in (states.SEEN, states.HELD_OUT):
        assert first[name].hidden_TD.shape == (5 * 31, 64)
        assert torch.equal(first[name].hidden_TD, again[name].hidden_TD)
        # Text of one kind soon costs less than choosing among all words of the tokenizer.
        words = first[name].description["words_of_the_tokenizer"]
        assert first[name].description["labels"]["mean_nll"] < 0.8 * math.log(words)


def test_inputs_have_the_sizes_of_their_states_and_the_share_of_ignored_labels() -> None:
    demo = states.demo_states()
    assert demo.description["labels"]["mean_nll"] < 1
    case = fitted(Case(name="demo", rows=10**6, states="demo", ignored_share=0.25), demo)
    inputs = make_inputs(case, "cpu", demo)
    assert inputs.hidden_TD.shape == (case.rows, case.width) == demo.hidden_TD.shape
    ignored = (inputs.labels_T == IGNORED).double().mean()
    assert float(ignored) == pytest.approx(0.25, abs=1e-3)
    assert not (demo.labels_T == IGNORED).any()
