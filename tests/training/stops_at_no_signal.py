"""Notes the first signal and goes on, as training in a step that takes long does."""

import os
import sys
import time
from pathlib import Path

from otr.signals import noted_signals

if __name__ == "__main__":
    with noted_signals() as stop:
        folder, rank = Path(sys.argv[1]), os.environ["RANK"]
        (folder / f"begun-{rank}").touch()
        stop.wait()
        (folder / f"noted-{rank}").touch()
        time.sleep(600)
