"""Lines that fit, and progress where there is no terminal."""

import sys
from typing import Any

import pytest
from tqdm import tqdm

from otr.terminal import (
    bar_options,
    num_cells,
    shortened_end,
    shortened_start,
    table_lines,
    wrapped,
)


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


def test_lines_break_between_words_and_go_on_below_their_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    assert wrapped(["note       one two three four"], 11) == [
        "note       one two three",
        "           four",
    ]
    assert wrapped(["OTR is ahead of SFT by 6.5 points"]) == [
        "OTR is ahead of SFT by",
        "  6.5 points",
    ]
    assert wrapped(["  a-path/" + "x" * 40])[0] == "  a-path/xxxxxxxxxxxxxxx"
    assert wrapped(["short", ""]) == ["short", ""]


def test_an_example_s_text_keeps_its_blanks_its_margin_and_its_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "learn | one  two three four five six"
    monkeypatch.setenv("COLUMNS", "20")
    found = wrapped([text, f"\033[32m{text}\033[0m"], 11)
    plain, coloured = found[: len(found) // 2], found[len(found) // 2 :]
    assert all(line.startswith("learn | ") for line in plain) and max(map(len, plain)) <= 20
    assert "".join(line[8:] for line in plain) == text[8:]
    assert coloured == [f"\033[32m{line}\033[0m" for line in plain]


def test_chinese_takes_two_columns_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    found = wrapped(["      | " + "数" * 20])
    assert [num_cells(line) for line in found] == [20, 20, 20, 12]


def test_a_file_has_lines_as_long_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert wrapped(["word " * 100]) == ["word " * 100]
    rows = [["", *"abcdefgh"], ["first", *("1" * 30 for _ in range(8))]]
    assert len(table_lines(rows)) == 2


def test_columns_that_do_not_fit_follow_below_with_the_first_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "22")
    rows = [["", "rate", "score", "other"], ["sft", "1", "22.5", "3"], ["otr", "2", "7", "44.25"]]
    assert table_lines(rows, margin="  ") == [
        "        rate   score",
        "  sft      1    22.5",
        "  otr      2       7",
        "",
        "        other",
        "  sft       3",
        "  otr   44.25",
    ]


def test_texts_are_shortened_at_words_with_an_ellipsis() -> None:
    asked = "Natalia sold clips to 48 of her friends. How many clips did she sell?"
    assert shortened_start(asked, 30) == "… How many clips did she sell?"
    assert shortened_start(asked, 31) == "… How many clips did she sell?"
    assert shortened_end(asked, 23) == "Natalia sold clips to …"
    for most in range(5, 80):
        for cut in (shortened_start, shortened_end):
            assert len(cut(asked, most)) <= most
    assert shortened_start("a" * 30, 10) == "…" + "a" * 9
    assert shortened_end("a" * 30, 10) == "a" * 9 + "…"
    assert shortened_start(asked, 100) == shortened_end(asked, 100) == asked
