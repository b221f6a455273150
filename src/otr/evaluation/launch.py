"""A launcher started, given its job, and read from: the side of the sandbox that is otr's own."""

import marshal
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from otr.evaluation.jail.scratch import remove
from otr.evaluation.python_library import temporary_folder

_LAUNCH = "import sys; sys.path.insert(0, {folder!r}); from jail.launcher import main; del sys.path[0]; main({report}, {verdict})"  # noqa: E501
_SECONDS_OF_GRACE = 40.0
"""For the launcher on a busy machine, past the program's own; one that takes longer has failed."""

_MOST_WORDS = 4096
_MOST_LAST_WORDS = 300


@dataclass(frozen=True)
class Ending:
    """What came from a launcher: its report, the runner's verdict, and the program's output."""

    report: dict
    verdict: str
    stdout: str
    stderr: str
    output_cut: bool
    wall_seconds: float


def launch(job: dict) -> Ending:
    """Start the launcher, give it the job, read what comes, and leave nothing behind."""
    limits = job["limits"]
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="otr-sandbox-", dir=temporary_folder())
    from_report, report = os.pipe()
    from_verdict, verdict = os.pipe()
    code = _LAUNCH.format(
        folder=str(Path(__file__).resolve().parent), report=report, verdict=verdict
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(report, verdict),
            cwd="/",
            env=_environment(job["home"]),
            start_new_session=True,
        )
    finally:
        os.close(report)
        os.close(verdict)
    try:
        assert process.stdin and process.stdout and process.stderr
        _send(process.stdin.fileno(), job | {"folder": folder})
        streams = [process.stdout.fileno(), process.stderr.fileno(), from_report, from_verdict]
        caps = [limits["output_kb"] * 1024] * 2 + [_MOST_WORDS] * 2
        read, cut = _read_all(streams, caps, limits["wall_seconds"] + _SECONDS_OF_GRACE)
    finally:
        _end(process)
        for number in (from_report, from_verdict):
            os.close(number)
        # The launcher has done so, unless it was killed.
        if os.path.lexists(folder):
            remove(folder)
    stdout, stderr, verdict_words = (read[i].decode("utf-8", "replace") for i in (0, 1, 3))
    return Ending(
        report=_report(read[2], stderr),
        verdict=verdict_words,
        stdout=stdout,
        stderr=stderr,
        output_cut=cut,
        wall_seconds=time.monotonic() - began,
    )


def _report(data: bytes, stderr: str) -> dict:
    try:
        return marshal.loads(data)
    except (EOFError, ValueError, TypeError):
        # Its last words may be the program's.
        return {"error": f"the launcher ended: {stderr[-_MOST_LAST_WORDS:]!a}"}


def _environment(home: str | None) -> dict[str, str]:
    # The same answer gets the same grade: sets of strings have the same order each time.
    fixed = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    libraries = os.environ.get("LD_LIBRARY_PATH")
    given = {"LD_LIBRARY_PATH": libraries, "PYTHONHOME": home}
    return fixed | {name: value for name, value in given.items() if value}


def _send(number: int, job: dict) -> None:
    data = marshal.dumps(job)
    view = memoryview(len(data).to_bytes(8, "big") + data)
    try:
        while view:
            view = view[os.write(number, view) :]
    except BrokenPipeError:
        pass  # the launcher has ended; its report says why


def _read_all(streams: list[int], caps: list[int], seconds: float) -> tuple[list[bytes], bool]:
    """What each stream brings until all are at their end, up to its cap; whether more came."""
    until = time.monotonic() + seconds
    kept = {number: bytearray() for number in streams}
    room = dict(zip(streams, caps, strict=True))
    cut = False
    with selectors.DefaultSelector() as selector:
        for number in streams:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < until:
            for key, _ in selector.select(until - time.monotonic()):
                part = os.read(key.fd, 1 << 16)
                if not part:
                    selector.unregister(key.fd)
                space = room[key.fd] - len(kept[key.fd])
                kept[key.fd] += part[:space]
                cut |= len(part) > space
    return [bytes(kept[number]) for number in streams], cut


def _end(process: subprocess.Popen) -> None:
    """The launcher ends when its input does; it is killed if it will not."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    try:
        process.wait(_SECONDS_OF_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
