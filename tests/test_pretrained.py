"""Names of models: what is looked for where, and what is said of what is not there."""

import shutil
from pathlib import Path

import pytest

from otr import pretrained, runs
from otr.demo import base_model_folder
from otr.errors import UserError
from otr.pretrained import load_tokenizer, unreachable_hub


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that cannot be reached; what it was asked for."""
    urls: list[str] = []

    def refuse(url: str) -> None:
        urls.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr(pretrained, "get_hf_file_metadata", refuse)
    unreachable_hub.cache_clear()
    return urls


def test_a_name_that_is_nowhere_is_refused_after_one_request(asked: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_tokenizer("dmeo")
    said, way_out = str(caught.value).splitlines()
    assert said == (
        "tokenizer of model: cannot load 'dmeo': there is no such folder; did you mean 'demo'; it was "
        "not downloaded before, and the hub cannot be reached: no route to host"
    )
    assert "a folder saved with save_pretrained" in way_out
    assert len(asked) == 1


def test_what_was_downloaded_before_is_used_without_the_hub(
    asked: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "models--some--one"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("0123")
    embedded = base_model_folder("demo")
    assert embedded is not None
    shutil.copytree(embedded, kept / "snapshots/0123")
    tokenizer = load_tokenizer("some/one", cache_dir=str(tmp_path))
    assert len(tokenizer) == len(load_tokenizer("demo"))
    assert len(asked) == 1


def test_a_folder_asks_no_hub(asked: list[str]) -> None:
    load_tokenizer("demo")
    assert asked == []


def test_a_folder_of_runs_or_without_a_model_is_told_from_others(tmp_path: Path) -> None:
    for name in ("study/sft-seed-0/model", "run", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "study" / runs.STUDY).touch()
    (tmp_path / "run" / runs.CONFIG).touch()
    for name, said in (
        ("study", "is a study's; name one of its runs, such as 'sft-seed-0'"),
        ("run", "is a run's without model/: finish it with `otr train`"),
        ("empty", "has no config.json, so it is not a model"),
    ):
        with pytest.raises(UserError, match=f"/{name}' {said}"):
            load_tokenizer(str(tmp_path / name))
