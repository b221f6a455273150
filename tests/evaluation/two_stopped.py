"""`otr eval` in two processes, the second of which gets a signal after five answers, unless it goes on."""

import os
import sys

import pytest

from otr.commands.main import main
from otr.evaluation import generation
from tests.evaluation.test_resume import stopped_after, terminate

if __name__ == "__main__":
    generation._MAX_ROWS = 7
    if "GOES_ON" not in os.environ and os.environ["RANK"] == "1":
        stopped_after(5, pytest.MonkeyPatch(), terminate)
    sys.exit(main(sys.argv[1:]))
