"""Without a GPU, Triton's kernels are interpreted on the CPU, which must be said before anything
imports triton; and one browser for all tests of pages."""

import gc
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch

# pytest-xdist tells its workers a width of 80; lines are as long as they are where there is no terminal.
os.environ.pop("COLUMNS", None)

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_finish() -> None:
    """Every training run collects garbage, for which it need not go through all libraries."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries that look for leaks at the end are to find none."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("no Chromium was found")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=arguments)
        yield opened
        opened.close()
