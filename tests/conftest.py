"""Without a GPU, Triton's kernels are interpreted on the CPU; this must be said before anything
imports triton."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
