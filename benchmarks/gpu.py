"""The head on a GPU: its tests, then the benchmark. Says so and stops where there is no GPU."""

import subprocess
import sys

_TESTS = [
    f"tests/lm_head/test_{name}.py" for name in ("triton", "parity", "rollouts", "compaction")
]


def main() -> int:
    """Answers 0 where all passes, or where there is no GPU; else the first failure's status. The
    benchmark also runs where a test fails: time on a GPU is scarce."""
    try:
        import torch
    except ModuleNotFoundError:
        print("no GPU run: this Python has no torch; name another one, GPU_PYTHON=…")
        return 0
    if not torch.cuda.is_available():
        print(f"no GPU run: torch {torch.__version__} sees no CUDA device here")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    commands = ["pytest", "-q", *_TESTS], ["benchmarks", "--device", "cuda"]
    statuses = [subprocess.run([sys.executable, "-m", *words]).returncode for words in commands]
    return next(filter(None, statuses), 0)


if __name__ == "__main__":
    sys.exit(main())
