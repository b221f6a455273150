"""How many tests there are of what must be refused, counted by collecting them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PLACES: dict[str, tuple[str, ...]] = {
    "recipes, settings, data, models and words of the command line": (
        "tests/commands/test_bad_input.py",
        "tests/commands/test_inspect.py::test_what_the_user_must_change_is_said_in_a_few_lines",
    ),
    "data files and conversations": (
        "tests/training/test_data.py::test_bad_data_is_refused_with_file_line_and_way_out",
        "tests/training/test_chat.py::test_conversations_that_cannot_be_learned_are_refused",
    ),
    "study and benchmark files": (
        "tests/study/test_file.py::test_a_wrong_study_is_refused_with_file_and_field",
        "tests/evaluation/test_pipeline.py::test_what_cannot_be_is_refused_with_the_way_out",
        "tests/evaluation/test_pipeline.py::test_a_bad_row_of_a_benchmark_file_is_named",
    ),
    "attacks": ("tests/security",),
}
"""What the cases are of, and the tests that hold them."""

_ROOT = Path(__file__).parents[1]


def collected() -> list[str]:
    """The ids of the tests at all places.

    Raises: RuntimeError if one of the places is not there.
    """
    names = [name for names in PLACES.values() for name in names]
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*words, *names], cwd=_ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return [line for line in done.stdout.splitlines() if "::" in line]


def counted(ids: Sequence[str]) -> dict[str, int]:
    """The number of cases at each place among these tests."""
    return {
        place: sum(any(_is_in(each, name) for name in names) for each in ids)
        for place, names in PLACES.items()
    }


def _is_in(test: str, name: str) -> bool:
    return test.startswith((f"{name}/", f"{name}::", f"{name}[")) or test == name
