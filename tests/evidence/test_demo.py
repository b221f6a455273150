"""The README's table and picture of the demo are what the committed answers say."""

from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from evidence import demo


def test_the_table_and_the_picture_are_what_the_answers_say() -> None:
    assert demo.stale() == []
    assert demo.PICTURE.name in demo.README.read_text(encoding="utf-8")


def test_a_picture_of_other_numbers_and_another_table_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, readme = tmp_path / "docs" / "x.png", tmp_path / "README.md"
    picture.parent.mkdir()
    kept = PngImagePlugin.PngInfo()
    kept.add_text(demo.HASH, "of other numbers")
    with Image.open(demo.PICTURE) as committed:
        committed.save(picture, pnginfo=kept)
    readme.write_text(demo.README.read_text().replace("| 98.5 |", "| 98.6 |"))
    for name, value in (("ROOT", tmp_path), ("PICTURE", picture), ("README", readme)):
        monkeypatch.setattr(demo, name, value)
    assert demo.check() == 1
    assert capsys.readouterr().err.splitlines() == [
        "README.md is out of date: python -m evidence demo",
        "docs/x.png is out of date: python -m evidence demo",
    ]
    demo.write()
    assert demo.stale() == []
