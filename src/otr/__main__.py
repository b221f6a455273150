"""`python -m otr` is `otr`, also under torchrun and accelerate launch."""

import sys

from otr.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
