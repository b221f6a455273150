"""A plan of seconds, with a head that fails and one whose gradient is wrong."""

from dataclasses import replace
from typing import Any

from benchmarks.benchmark import run
from benchmarks.cases import Case, Inputs
from benchmarks.heads import HEADS, Outcome, Run
from benchmarks.plan import MAIN, Plan
from benchmarks.states import Training
from benchmarks.steps import StepCase

NAMES = ("gemms", "full logits", "TRL", "naive OTR", "SFT", "OTR", "OTR exact", "OTR beta 0")


def _failing(inputs: Inputs, record: bool) -> Run:
    raise RuntimeError("no kernel in /somewhere/of/this/machine for this")


def _failing_when_called(inputs: Inputs, record: bool) -> Run:
    def run() -> Outcome:
        raise ValueError("too few rows")

    return run


def _doubled(inputs: Inputs, record: bool) -> Run:
    right = HEADS["SFT"].prepare(inputs, record)

    def run() -> Outcome:
        outcome = right()
        assert inputs.weight_VD.grad is not None
        inputs.weight_VD.grad *= 2
        return outcome

    return run


TINY_HEADS = HEADS | {
    "failing": replace(HEADS["SFT"], prepare=_failing),
    "failing when called": replace(HEADS["SFT"], prepare=_failing_when_called),
    "doubled": replace(HEADS["SFT"], prepare=_doubled),
}


def plan() -> Plan:
    """Two cases at a vocabulary of 600, and a step of a model of width 64."""
    odd: dict[str, Any] = {"rows": 7, "width": 16, "vocabulary": 600}
    every = (*NAMES, "failing", "failing when called", "doubled")
    return Plan(
        cases=(
            Case(name=MAIN, **odd, heads=every, rounds=3),
            Case(name="frozen", **odd, heads=NAMES, frozen=True, ignored_share=0.3),
            *(
                Case(name=f"T {rows}", group="growth T", **{**odd, "rows": rows}, heads=NAMES)
                for rows in (4, 8)
            ),
        ),
        accuracy=(Case(name="random", **odd, heads=every, ignored_share=0.3),),
        memory=(),
        step=StepCase(width=64, vocabulary=600, rows=2, length=16, rounds=2),
        training=Training(),
        limit_seconds=60,
    )


def results() -> dict[str, Any]:
    """The results of the plan on one thread."""
    return run(plan(), "cpu", 1, quick=True, heads=TINY_HEADS)
