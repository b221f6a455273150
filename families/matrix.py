"""Each architecture in a process of its own, forked from one that has loaded the libraries."""

import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from families.architectures import Architecture
from families.step import compared, enliven, make_trainer
from families.tiny import tiny_model
from otr.training.model_head import output_head

SECONDS_EACH = 60
TOLERANCE, ROUNDED_TOLERANCE = 1e-9, 1e-5
"""In float64; and where the model rounds its own logits to float32."""
PASSES, REFUSED, NOT_BUILT, DIFFERS = "passes", "refused", "not built", "differs"


@dataclass(frozen=True)
class Outcome:
    """What became of one architecture."""

    architecture: Architecture
    status: str
    reason: str = ""
    head: dict[str, Any] | None = None
    """What the head is, and what was measured of the model's transform."""
    step: dict[str, Any] | None = None

    @property
    def model_type(self) -> str:
        """transformers' name of it."""
        return self.architecture.model_type


def outcome(architecture: Architecture) -> Outcome:
    """Build the model, make its trainer, take the step both ways."""
    try:
        model = tiny_model(architecture)
    except Exception as error:
        return Outcome(architecture, NOT_BUILT, _reason(error))
    enliven(model)
    try:
        trainer = make_trainer(model)
    except ValueError as error:
        return Outcome(architecture, REFUSED, _reason(error))
    except Exception as error:
        if "/otr/" in traceback.extract_tb(error.__traceback__)[-1].filename:
            return Outcome(architecture, DIFFERS, f"at construction: {_reason(error)}")
        return Outcome(architecture, REFUSED, f"by SFTTrainer ({_reason(error)})")
    linear = output_head(model)
    transform = trainer.logit_transform
    assert transform is not None
    inputs = model.get_input_embeddings()
    head = {
        "tied": linear.weight is getattr(inputs, "weight", None),
        "biased": linear.bias is not None,
        "scale": round(transform.scale, 6),
        "cut": transform.num_words is not None,
        "softcap": None if transform.softcap is None else round(transform.softcap, 6),
    }
    try:
        step = compared(trainer, model)
    except Exception as error:
        return Outcome(architecture, DIFFERS, f"at the step: {_reason(error)}", head)
    tolerance = ROUNDED_TOLERANCE if step.rounded else TOLERANCE
    same = max(step.loss_error, step.gradient_error) < tolerance
    reason = (
        "" if same else f"loss by {step.loss_error:.1e}, gradients by {step.gradient_error:.1e}"
    )
    return Outcome(architecture, PASSES if same else DIFFERS, reason, head, asdict(step))


def _reason(error: BaseException) -> str:
    """An error in a line, with where in the model it was raised."""
    if "FAMILIES_TRACE" in os.environ:
        traceback.print_exception(error)
    text = " ".join(str(error).split())[:300]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def tried(chosen: Sequence[Architecture]) -> Iterator[Outcome]:
    """Outcome after outcome; a process that dies or takes too long has one too."""
    return map(_in_own_process, chosen)


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What families/results.json holds."""
    return {
        "transformers": version("transformers"),
        "torch": version("torch"),
        "tolerance": TOLERANCE,
        "rounded_tolerance": ROUNDED_TOLERANCE,
        "architectures": [
            {
                **asdict(each.architecture),
                **{name: value for name, value in asdict(each).items() if name != "architecture"},
            }
            for each in outcomes
        ],
    }


def _in_own_process(architecture: Architecture) -> Outcome:
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(architecture, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(SECONDS_EACH):
            return Outcome(architecture, NOT_BUILT, f"took more than {SECONDS_EACH} seconds")
        return receiver.recv()
    except EOFError:
        process.join()
        return Outcome(architecture, NOT_BUILT, f"its process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _send(architecture: Architecture, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    sender.send(outcome(architecture))
