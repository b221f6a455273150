"""Each architecture in a process of its own, forked from one that has loaded the libraries."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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

    model_type: str
    class_name: str
    status: str
    reason: str = ""
    head: dict[str, Any] | None = None
    step: dict[str, Any] | None = None


def outcome(architecture: Architecture) -> Outcome:
    """Build the model, make its trainer, take the step both ways."""
    names = architecture.model_type, architecture.class_name
    try:
        model = tiny_model(architecture)
    except Exception as error:
        return Outcome(*names, NOT_BUILT, _reason(error))
    enliven(model)
    try:
        trainer = make_trainer(model)
    except ValueError as error:
        return Outcome(*names, REFUSED, _reason(error))
    except Exception as error:
        return Outcome(*names, DIFFERS, f"at construction: {_reason(error)}")
    linear = output_head(model)
    transform = trainer.logit_transform
    inputs = model.get_input_embeddings()
    head = {
        "tied": linear.weight is getattr(inputs, "weight", None),
        "biased": linear.bias is not None,
        "scale": round(transform.scale, 6),
        "softcap": None if transform.softcap is None else round(transform.softcap, 6),
    }
    try:
        step = compared(trainer, model)
    except Exception as error:
        return Outcome(*names, DIFFERS, f"at the step: {_reason(error)}", head)
    tolerance = ROUNDED_TOLERANCE if step.rounded else TOLERANCE
    same = max(step.loss_error, step.gradient_error) < tolerance
    reason = (
        "" if same else f"loss by {step.loss_error:.1e}, gradients by {step.gradient_error:.1e}"
    )
    return Outcome(*names, PASSES if same else DIFFERS, reason, head, asdict(step))


def _reason(error: BaseException) -> str:
    """An error in a line, with where in the model it was raised."""
    if "FAMILIES_TRACE" in os.environ:
        traceback.print_exception(error)
    text = " ".join(str(error).split())[:300]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def run(chosen: Sequence[Architecture]) -> list[Outcome]:
    """The outcomes, in the order given; a process that dies or takes too long is one too."""
    outcomes = []
    for architecture in chosen:
        start = time.monotonic()
        outcomes.append(_in_own_process(architecture))
        last = outcomes[-1]
        print(
            f"{time.monotonic() - start:5.1f} s  {last.model_type}: {last.status} {last.reason}",
            file=sys.stderr,
            flush=True,
        )
    return outcomes


def _in_own_process(architecture: Architecture) -> Outcome:
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(architecture, sender))
    process.start()
    sender.close()
    names = architecture.model_type, architecture.class_name
    try:
        if not receiver.poll(SECONDS_EACH):
            return Outcome(*names, NOT_BUILT, f"took more than {SECONDS_EACH} seconds")
        return receiver.recv()
    except EOFError:
        process.join()
        return Outcome(*names, NOT_BUILT, f"its process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _send(architecture: Architecture, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    sender.send(outcome(architecture))
