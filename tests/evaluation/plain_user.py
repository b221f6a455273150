"""The hostile programs, run by whoever runs this: `python -m tests.evaluation.plain_user`."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from otr.evaluation.sandbox import Program, protections, run_python
from tests.evaluation.hostile import HOSTILE, Hostile, ended_as_named, filled, limits_of

MARKER = "6543.21"
_CANNOT = 77


def main(outside: str, namespaces: bool) -> int:
    """Print which programs were not stopped as named; `outside` holds a file `secret`."""
    held = protections(namespaces=namespaces)
    if held.namespaces != namespaces or not (held.system_calls and held.landlock):
        print(held)
        return _CANNOT
    values = {"outside": outside, "secret": f"{outside}/secret", "marker": MARKER}
    values |= {"port": 9, "segment": 0}

    def stopped(hostile: Hostile) -> bool:
        if hostile.takes_seconds:
            return True
        program = Program(text=filled(hostile.text, **values), tests=hostile.tests)
        outcome = run_python(program, limits=limits_of(hostile), guards=held)
        if not ended_as_named(hostile, outcome, alone=namespaces or os.geteuid() == 0):
            print(hostile.name, outcome)
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        num_stopped = sum(pool.map(stopped, HOSTILE))
    print(num_stopped, "stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] == "True"))
