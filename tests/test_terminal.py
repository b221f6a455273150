"""Progress where there is no terminal."""

import sys
from typing import Any

import pytest
from tqdm import tqdm

from otr.terminal import bar_options


def test_without_a_terminal_progress_is_lines_each_state_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options: dict[str, Any] = {**bar_options("step"), "mininterval": 0, "miniters": 1}
    bar = tqdm(total=3, **options)
    for step in (1, 2, 3):
        bar.set_postfix_str(f"loss {step}", refresh=False)
        bar.update(1)
        tqdm.write(f"sample {step}", file=sys.stderr)
    bar.close()
    said = capsys.readouterr().err
    assert "\r" not in said
    begun = [line.partition(",")[0] for line in said.splitlines()]
    assert begun == [
        "0/3 steps", "1/3 steps", "sample 1", "2/3 steps", "sample 2", "3/3 steps", "sample 3",
    ]  # fmt: skip
    assert said.splitlines()[3].endswith("left, loss 2")
