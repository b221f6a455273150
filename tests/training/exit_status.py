"""`otr` in a process that torchrun starts; leaves its exit status in a file, since torchrun hides it."""

import os
import sys
from pathlib import Path

from otr.commands.main import main

if __name__ == "__main__":
    status = main(sys.argv[2:])
    aside = Path(sys.argv[1]) / f".status-{os.environ['RANK']}"
    aside.write_text(str(status))
    aside.rename(aside.with_name(aside.name[1:]))
    sys.exit(status)
