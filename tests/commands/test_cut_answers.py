"""What `otr eval` says of answers that were cut off."""

from typing import Any

import pytest

from otr.commands.evaluate import _print


@pytest.mark.parametrize(("cut", "share"), [(7, None), (8, "20 %"), (39, "98 %")])
def test_many_answers_that_were_cut_off_are_warned_about(
    capsys: pytest.CaptureFixture[str], cut: int, share: str | None
) -> None:
    entry: dict[str, Any] = {
        "accuracy": 0.5, "n": 20, "samples": 2, "interval_95": [0.3, 0.7], "prompt": "base",
        "num_truncated": cut,
    }  # fmt: skip
    _print({"gsm8k": entry})
    said, *warnings = capsys.readouterr().out.splitlines()
    assert f"{cut} cut short" in said
    assert len(warnings) == (share is not None)
    for words in warnings:
        assert words.startswith(
            f"warning: gsm8k: answers were cut off at the limit of tokens ({share})"
        )
