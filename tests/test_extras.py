"""The command that installs an optional part holds for the way otr was installed."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from otr import extras
from otr.extras import install_words

FOLDER = {"url": "file:///home/me/my%20clone", "dir_info": {}}
ORIGINS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "a clone": (FOLDER, "pip install '/home/me/my clone[eval]'"),
    "a clone, editable": (
        FOLDER | {"dir_info": {"editable": True}},
        "pip install -e '/home/me/my clone[eval]'",
    ),
    "a wheel": (
        {"url": "file:///tmp/otr-0.1.0-py3-none-any.whl", "archive_info": {}},
        "pip install 'otr[eval] @ file:///tmp/otr-0.1.0-py3-none-any.whl'",
    ),
    "a repository": (
        {"url": "https://example.org/otr.git", "vcs_info": {"vcs": "git", "commit_id": "0"}},
        "pip install 'otr[eval] @ git+https://example.org/otr.git'",
    ),
    "an index": (None, "pip install 'otr[eval]'"),
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_extra_is_installed_from_where_otr_came_from(
    origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, command = ORIGINS[origin]

    class Installed:
        def read_text(self, name: str) -> str | None:
            return None if recorded is None else json.dumps(recorded)

    monkeypatch.setattr(extras, "distribution", lambda name: Installed())
    assert install_words("eval") == command


def test_a_clone_that_was_never_installed_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", missing)
    clone = Path(__file__).resolve().parents[1]
    assert install_words("eval") == f"pip install '{clone}[eval]'"


def test_no_other_module_writes_the_command_out() -> None:
    sources = (Path(extras.__file__).parent).rglob("*.py")
    told = [path.name for path in sources if "pip install 'otr[" in path.read_text("utf-8")]
    assert told == ["extras.py"]


def test_no_page_installs_from_an_index_what_is_in_none() -> None:
    pages = Path(__file__).parents[1].glob("docs/*.md")
    assert [page.name for page in pages if "pip install 'otr[" in page.read_text("utf-8")] == []
