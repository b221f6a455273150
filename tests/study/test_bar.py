"""What a study shows while it runs."""

import pytest

from otr.study.bar import Bar
from otr.study.runner import Progress


def test_without_a_terminal_the_words_are_a_line_without_a_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = Bar(num_kept=1)
    bar.show(Progress(3))
    bar.close()
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown == "0% 0 of 3 runs, 1 kept from before"
