"""`otr` in a process that torchrun starts; leaves its exit status in a file, since torchrun hides it."""

import os
import sys
from pathlib import Path

from otr.commands.main import main

if __name__ == "__main__":
    status = main(sys.argv[2:])
    (Path(sys.argv[1]) / f"status-{os.environ['RANK']}").write_text(str(status))
    sys.exit(status)
