"""Which backends can be tested here, where their tensors belong, and how much they can do."""

from importlib.util import find_spec

import pytest
import torch

from otr import lm_head

ON_GPU = torch.cuda.is_available()

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="needs a GPU")

BACKENDS = [
    pytest.param(name, marks=needs_triton) if name == "triton" else name
    for name in lm_head.BACKENDS
]

FAST_BACKENDS = [name for name in lm_head.BACKENDS if name != "triton" or ON_GPU]
"""For claims that need many draws, too many for an interpreter."""


def device(backend: str | None) -> str:
    """Where a backend's tensors belong."""
    return "cuda" if backend == "triton" and ON_GPU else "cpu"


def is_interpreted(backend: str | None) -> bool:
    """Whether a backend takes some 50 microseconds for every operation of every program, so that
    its tests must be small."""
    return backend == "triton" and not ON_GPU


def fewer_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one program of a kernel do what takes many on a GPU, which interprets faster."""
    from otr.lm_head import triton_passes

    for name in ("_DRAWS", "_ENTRIES"):
        monkeypatch.setattr(triton_passes, name, 1024)
