"""What a study shows while it runs."""

import pytest

from otr.study.bar import Bar
from otr.study.runner import Progress


def test_the_words_stand_after_the_bar_alone(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(num_kept=1)
    bar.show(Progress(3))
    bar.close()
    shown = capsys.readouterr().err.split("\r")[-1]
    assert shown.startswith("  0%|")
    assert shown.rstrip().endswith("| 0 of 3 runs, 1 kept from before")
