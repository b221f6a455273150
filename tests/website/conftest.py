"""The site, built once for all tests of a session, also where several processes share it."""

from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    pytest.importorskip("zensical", reason="pip install 'otr[docs]'")
    from website.site import build_site

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            build_site(folder)
    return folder
