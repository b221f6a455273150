"""A short run whose loss is a mean over sequences, started in each process; the first
writes the final weights."""

import sys
from pathlib import Path

from safetensors.torch import save_file

from tests.training.test_normalization import weights_after

if __name__ == "__main__":
    settings = {"per_device_train_batch_size": 4, "ddp_backend": "gloo"}
    weights, is_first = weights_after(Path(sys.argv[1]), **settings)
    if is_first:
        save_file(weights, Path(sys.argv[1]) / "weights.safetensors")
