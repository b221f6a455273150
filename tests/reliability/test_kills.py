"""A short version of `make faults`."""

from pathlib import Path

import pytest

from reliability.kills import survive


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    outcome = survive(tmp_path, num_kills=5, num_inside=2, seed=1)
    assert outcome.kills >= 5 and outcome.inside_a_save >= 2
    assert outcome.runs >= 1 and outcome.different == 0
