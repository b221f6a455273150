"""A run of the benchmark, from a plan to results as plain data."""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch

from benchmarks.accuracy import gradient_errors
from benchmarks.cases import RANDOM, Case, States, fitted, make_inputs
from benchmarks.heads import HEADS, Head, Unavailable
from benchmarks.machine import machine
from benchmarks.measuring import Measured, case_json, measure, reason
from benchmarks.memory import peak_memory
from benchmarks.plan import MAIN, ROLLOUTS, Plan
from benchmarks.states import DEMO, HELD_OUT, SEEN, demo_states, trained_states
from benchmarks.steps import measured_steps
from benchmarks.targets import targets

_PRODUCT_ROWS, _PRODUCT_COLUMNS = 512, 8192
_STEP_FLOPS_PER_TOKEN = 6
_SECONDS_A_LOGIT = {"cpu": 2e-8, "cuda": 1e-11}
"""A guess of what the heads spend on a logit beyond the matrix products, on average."""

_SECONDS_A_PROCESS = 6.0
_SECONDS_A_TRAINER_ROUND = 8.0

Found = dict[str, States | str]
"""Trained states by name, or why there are none."""


@dataclass(kw_only=True)
class Progress:
    """Lines on stderr: which part, of how many, since when, and about until when."""

    num_parts: int
    expected_seconds: float
    start: float = field(default_factory=perf_counter)
    num_done: int = 0

    def part(self, name: str) -> None:
        """Begin a part."""
        self.num_done += 1
        self.say(f"[{self.num_done}/{self.num_parts}] {name}")

    def say(self, line: str) -> None:
        """A line with the time since the start."""
        elapsed = perf_counter() - self.start
        whole = f"of about {self.expected_seconds / 60:.0f} min"
        print(f"{elapsed:6.0f} s {whole}  {line}", file=sys.stderr, flush=True)


def run(
    plan: Plan, device: str, threads: int, *, quick: bool, heads: dict[str, Head] = HEADS
) -> dict[str, Any]:
    """All measurements of a plan; a part or head that fails is in the results with its reason."""
    torch.set_num_threads(threads)
    num_parts = 1 + len(plan.cases) + len(plan.accuracy) + len(plan.memory) + 1
    progress = Progress(num_parts=num_parts, expected_seconds=expected_seconds(plan, device))
    progress.part("states of trained models")
    states = _states(plan, device, progress.say)
    results: dict[str, Any] = {
        "machine": machine(device, threads),
        "quick": quick,
        "caches": "flushed before each call" if device == "cuda" else "as the last head left them",
        "states": {
            name: each.description if isinstance(each, States) else {"skipped": each}
            for name, each in states.items()
        },
        "cases": [],
    }
    for case in plan.cases:
        progress.part(f"{case.name}: {len(case.heads)} heads, {case.rounds} rounds")
        results["cases"].append(_case(case, plan, states, device, heads))
    results["accuracy"] = []
    for case in plan.accuracy:
        progress.part(f"gradients of {case.name} against float64")
        results["accuracy"].append(_accuracy(case, states, device, heads))
    results["memory"] = _memory_of_timed(results["cases"]) if device == "cuda" else []
    for case in plan.memory:
        progress.part(f"memory, {case.name}")
        found = {name: peak_memory(case, name, threads) for name in case.heads}
        results["memory"].append({**case.sizes(), "heads": found})
    progress.part("training steps")
    try:
        results["step"] = measured_steps(plan.step, device)
    except Exception as error:
        results["step"] = {"skipped": reason(error)}
    results["targets"] = targets(results)
    progress.say("done")
    return results


def _states(plan: Plan, device: str, say: Callable[[str], None]) -> Found:
    wanted = {case.states for case in (*plan.cases, *plan.accuracy)} - {RANDOM}
    found: Found = {}
    for names, make in (
        ({DEMO}, lambda: {DEMO: demo_states()}),
        ({SEEN, HELD_OUT}, lambda: trained_states(plan.training, device, say)),
    ):
        if wanted & names:
            try:
                found |= make()
            except Exception as error:
                found |= dict.fromkeys(names, reason(error))
    return found


def _case(
    case: Case, plan: Plan, states: Found, device: str, heads: dict[str, Head]
) -> dict[str, Any]:
    # Patched models are cycles, which hold the inputs of the case before.
    gc.collect()
    about: dict[str, Any] = {}
    try:
        case, of = _resolved(case, states)
        if of is not None:
            about["labels"] = of.description["labels"]
        measured = measure(
            {name: heads[name] for name in case.heads},
            make_inputs(case, device, of),
            rounds=case.rounds,
            limit_seconds=plan.limit_seconds,
        )
    except Exception as error:
        measured = Measured(skipped=dict.fromkeys(case.heads, reason(error)))
    about["gemm_flops"] = case.flops
    return case_json(case.sizes() | about, measured, case.heads)


def _accuracy(case: Case, states: Found, device: str, heads: dict[str, Head]) -> dict[str, Any]:
    try:
        case, of = _resolved(case, states)
        inputs = make_inputs(case, device, of)
        errors = gradient_errors({name: heads[name] for name in case.heads}, inputs)
    except Exception as error:
        errors = {name: {"skipped": reason(error)} for name in case.heads}
    return {**case.sizes(), "heads": errors}


def _resolved(case: Case, states: Found) -> tuple[Case, States | None]:
    """The case at the sizes of its states, and these.

    Raises: Unavailable if they could not be made.
    """
    of = states.get(case.states)
    if isinstance(of, str):
        raise Unavailable(f"no states: {of}")
    return (case, None) if of is None else (fitted(case, of), of)


def _memory_of_timed(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """On CUDA: peaks that were read while timing, of the main case and that of the rollouts."""
    names = {MAIN: "8192 tokens", ROLLOUTS: ROLLOUTS}
    return [
        {
            **{key: value for key, value in case.items() if key != "heads"},
            "name": names[case["name"]],
            "heads": {
                name: {"peak_bytes": entry["peak_bytes"]}
                if "peak_bytes" in entry
                else {"skipped": entry["skipped"]}
                for name, entry in case["heads"].items()
            },
        }
        for case in cases
        if case["name"] in names
    ]


def expected_seconds(plan: Plan, device: str) -> float:
    """About how long a plan takes on this machine, from the speed of one matrix product."""
    rate = _flops_a_second(device)

    def of(case: Case, calls: float) -> float:
        once = case.flops / rate + case.rows * case.vocabulary * _SECONDS_A_LOGIT[device]
        return calls * len(case.heads) * once

    timed = sum(min(of(case, case.rounds), 2 * plan.limit_seconds) for case in plan.cases)
    memory = sum(of(case, 1) + _SECONDS_A_PROCESS * len(case.heads) for case in plan.memory)
    training, layers = plan.training, plan.training.num_layers + 1
    weights = layers * 8 * training.width**2 + training.width * training.vocabulary
    tokens = training.num_steps * training.batch_size * training.length
    step = replace(plan.cases[0], rows=plan.step.rows * plan.step.length)
    step = replace(step, width=plan.step.width, vocabulary=plan.step.vocabulary, heads=("",) * 3)
    return (
        timed
        + memory
        + _STEP_FLOPS_PER_TOKEN * weights * tokens / rate
        + of(step, 2 * plan.step.rounds)
        + _SECONDS_A_TRAINER_ROUND
    )


def _flops_a_second(device: str) -> float:
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    left = torch.ones(_PRODUCT_ROWS, _PRODUCT_ROWS, dtype=dtype, device=device)
    right = torch.ones(_PRODUCT_ROWS, _PRODUCT_COLUMNS, dtype=dtype, device=device)
    for _ in range(2):
        start = perf_counter()
        product = left @ right
        # Reading a value waits for the device.
        product[0, 0].item()
        seconds = perf_counter() - start
    return 2.0 * _PRODUCT_ROWS**2 * _PRODUCT_COLUMNS / seconds
