"""Hidden states of trained models: real heads know most of their labels well, random ones none.

`demo`            the embedded base model on the answers that `otr demo` fine-tunes it on
`seen text`       a model trained here, on text of its training
`held-out text`   the same model on text of the same kinds that it never saw

Nothing is selected by what the model makes of it. The trained model is cached next to this file.

Shapes: T tokens, D width, V vocabulary, N sequences, L positions.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import States
from benchmarks.texts import Texts, byte_level_tokenizer, sequences, texts
from otr.demo.tasks import SEPARATOR
from otr.demo.training_data import demonstrations

DEMO, SEEN, HELD_OUT = "demo", "seen text", "held-out text"

_CACHE = Path(__file__).parent / ".cache"
_WORDS = 4096
_THRESHOLDS = (0.9, 0.99, 0.999, 0.9999)
_ROWS = 1024
_DEMONSTRATIONS = 256

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The model that is made for its states, and its training: bounded in steps."""

    width: int = 896
    vocabulary: int = _WORDS
    """Rows of the head; the tokenizer has at most 4096 words, the rest are never a label."""
    num_layers: int = 2
    length: int = 128
    batch_size: int = 3
    num_steps: int = 360
    learning_rate: float = 1e-3
    learnt_sequences: int = 12
    """Of each kind but the generated tasks, which never end."""
    measured_sequences: int = 5
    """Of each kind, in each of the two sets of states."""
    seed: int = 0


def demo_states() -> States:
    """The embedded base model on the answers of demonstrations; questions are no labels."""
    from otr.pretrained import load_model, load_tokenizer

    model, tokenizer = load_model("demo").eval(), load_tokenizer("demo")
    hidden, labels = [], []
    problems = demonstrations("mild", num_demonstrations=_DEMONSTRATIONS, wrong_share=0.0, seed=0)
    for problem in problems:
        question = tokenizer(problem.prompt)["input_ids"]
        ids = torch.tensor(tokenizer(problem.prompt + SEPARATOR + problem.completion)["input_ids"])
        assert ids[: len(question)].tolist() == question
        with torch.no_grad():
            hidden_LD = model.base_model(input_ids=ids[None]).last_hidden_state[0]
        hidden.append(hidden_LD[len(question) - 1 : -1])
        labels.append(ids[len(question) :])
    about = {"model": "the embedded base model `demo`", "texts": "demonstrations of `otr demo`"}
    return _states(torch.cat(hidden), _head(model), torch.cat(labels), about)


def trained_states(training: Training, device: str, progress: Progress) -> dict[str, States]:
    """The states of the model trained here, by name; from the cache if they are there."""
    kinds = texts()
    contents = json.dumps(
        [asdict(training), [asdict(kind) for kind in kinds], version("torch"), device]
    )
    path = _CACHE / f"states-{hashlib.sha256(contents.encode()).hexdigest()[:16]}.pt"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        torch.save(_made(training, kinds, device, progress), path)
    stored = torch.load(path, weights_only=True)
    weight_VD = stored["weight"]
    return {
        name: _states(each["hidden"], weight_VD, each["labels"], each["about"])
        for name, each in stored["sets"].items()
    }


def _made(
    training: Training, kinds: list[Texts], device: str, progress: Progress
) -> dict[str, Any]:
    """Train the model, and take its states."""
    tokenizer = byte_level_tokenizer(kinds, min(_WORDS, training.vocabulary))
    shape = {"length": training.length}
    learnt, held_out = {}, {}
    for kind in kinds:
        many = training.num_steps * training.batch_size
        at_most = many if kind is kinds[0] else training.learnt_sequences
        learnt[kind.kind] = sequences(tokenizer, kind.seen, at_most=at_most, **shape)
        at_most = training.measured_sequences
        held_out[kind.kind] = sequences(tokenizer, kind.held_out, at_most=at_most, **shape)
    model, loss = _trained_model(training, list(learnt.values()), device, progress)
    sets = {}
    for name, by_kind in ((SEEN, learnt), (HELD_OUT, held_out)):
        share = training.measured_sequences
        chosen = {kind: found[:share] for kind, found in by_kind.items()}
        hidden_TD, labels_T = _hidden(model, [ids for found in chosen.values() for ids in found])
        about = {
            "model": f"Qwen2, width {training.width}, {training.num_layers} layers",
            "training": asdict(training) | {"last_loss": loss},
            "words_of_the_tokenizer": tokenizer.get_vocab_size(),
            "sequences": {kind: len(found) for kind, found in chosen.items()},
        }
        sets[name] = {"hidden": hidden_TD, "labels": labels_T, "about": about}
    return {"weight": _head(model).cpu(), "sets": sets}


def _trained_model(
    training: Training, learnt: list[list[list[int]]], device: str, progress: Progress
) -> tuple[Any, float]:
    """The model after its steps, each over sequences of all kinds alike, and its last loss."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(training.seed)
    config = Qwen2Config(
        vocab_size=training.vocabulary,
        hidden_size=training.width,
        intermediate_size=2 * training.width,
        num_hidden_layers=training.num_layers,
        num_attention_heads=max(1, training.width // 64),
        num_key_value_heads=max(1, training.width // 448),
        max_position_embeddings=training.length,
        tie_word_embeddings=True,
    )
    model: Any = Qwen2ForCausalLM(config).to(device)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    steps = training.num_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 20, 2 * (1 - step / steps))
    )
    rng, loss = Random(training.seed), torch.zeros(())
    for step in range(steps):
        batch = [
            rng.choice(learnt[(step * training.batch_size + index) % len(learnt)])
            for index in range(training.batch_size)
        ]
        ids_NL = torch.tensor(batch, device=device)
        loss = model(input_ids=ids_NL, labels=ids_NL, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % 20 == 0:
            progress(f"a model for its states: step {step + 1} of {steps}, loss {loss.item():.2f}")
    return model.eval(), loss.item()


def _hidden(model: Any, found: list[list[int]]) -> tuple[Tensor, Tensor]:
    """States (T, D) and the words after them (T,), on the CPU."""
    hidden, labels = [], []
    for ids in found:
        ids_L = torch.tensor(ids, device=model.device)
        with torch.no_grad():
            hidden_LD = model.base_model(input_ids=ids_L[None]).last_hidden_state[0]
        hidden.append(hidden_LD[:-1].cpu())
        labels.append(ids_L[1:].cpu())
    return torch.cat(hidden), torch.cat(labels)


def _head(model: Any) -> Tensor:
    return model.get_output_embeddings().weight.detach().clone()


def _states(
    hidden_TD: Tensor, weight_VD: Tensor, labels_T: Tensor, about: dict[str, Any]
) -> States:
    states = States(hidden_TD=hidden_TD, weight_VD=weight_VD, labels_T=labels_T, description=about)
    return replace(states, description=about | {"labels": label_probability(states)})


def label_probability(states: States) -> dict[str, float]:
    """How probable the model finds its labels: the share above each threshold, and mean NLL."""
    log_prob_T = torch.cat(
        [
            (hidden @ states.weight_VD.T).log_softmax(-1).gather(1, labels[:, None])[:, 0]
            for hidden, labels in zip(
                states.hidden_TD.split(_ROWS), states.labels_T.split(_ROWS), strict=True
            )
        ]
    )
    shares = {
        f"share_above_{threshold}": float((log_prob_T.exp() > threshold).double().mean())
        for threshold in _THRESHOLDS
    }
    return {"mean_nll": float(-log_prob_T.mean()), **shares}
