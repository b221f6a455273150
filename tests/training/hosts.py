"""Two hosts on one machine, as network namespaces with a wire between them, and torchrun on them."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

DEADLINE_SECONDS = 240.0


@dataclass(frozen=True)
class Host:
    """A network of its own; the file system is the machine's."""

    namespace: str
    interface: str
    address: str

    def cut_off(self) -> None:
        """Take its end of the wire down."""
        _ip("-n", self.namespace, "link", "set", self.interface, "down")

    def connect(self) -> None:
        """Take it up."""
        _ip("-n", self.namespace, "link", "set", self.interface, "up")


def why_no_hosts() -> str:
    """Why this machine cannot make network namespaces; empty if it can."""
    if shutil.which("ip") is None:
        return "needs the command `ip` (Debian's iproute2)"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    name = f"otr-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return f"cannot make network namespaces: {made.stderr.strip()}" if made.returncode else ""


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two namespaces that reach each other and nothing else; gone afterwards, with what runs in them.

    Their addresses are of a block that is kept for documentation.
    """
    tag = secrets.token_hex(3)
    one, other = (
        Host(f"otr-{tag}-{letter}", f"otr{tag}{letter}", f"192.0.2.{number}")
        for number, letter in ((1, "a"), (2, "b"))
    )
    try:
        for host in (one, other):
            _ip("netns", "add", host.namespace)
        _ip("-n", one.namespace, "link", "add", one.interface, "type", "veth", "peer", "name",
            other.interface, "netns", other.namespace)  # fmt: skip
        for host in (one, other):
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/30", "dev", host.interface)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            host.connect()
        yield one, other
    finally:
        for host in (one, other):
            _end_all_in(host.namespace)
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True)


def _end_all_in(namespace: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    for number in found.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@dataclass
class Torchrun:
    """A torchrun that was started, on a host or on the machine itself."""

    process: subprocess.Popen
    folder: Path
    """Where what the processes print, and their exit statuses, are written."""
    printed: Path = field(init=False)

    def __post_init__(self) -> None:
        self.printed = self.folder / "torchrun.txt"

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(DEADLINE_SECONDS)

    def worker(self, rank: int) -> psutil.Process:
        """The process of a rank."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            # One that has just ended has no environment.
            with suppress(psutil.Error):
                if process.environ().get("RANK") == str(rank):
                    return process
        raise LookupError(f"no process has rank {rank}")

    def stderr(self, local_rank: int, restart: int = 0) -> str:
        """What a process of it printed, after so many restarts."""
        (path,) = self.folder.glob(f"logs/*/attempt_{restart}/{local_rank}/stderr.log")
        return path.read_text()

    def status(self, rank: int) -> int:
        """The exit status of a process of it that came to its end."""
        return int((self.folder / f"status-{rank}").read_text())


@contextmanager
def torchrun(
    folder: Path,
    options: Sequence[str],
    words: Sequence[str],
    *,
    host: Host | None = None,
    program: str = "exit_status",
) -> Iterator[Torchrun]:
    """`otr` with these words in the processes that torchrun starts; ended when the block ends."""  # fmt: skip
    folder.mkdir(parents=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable, "-m", "torch.distributed.run", *options, "--redirects", "3", "--log-dir",
        str(folder / "logs"), "-m", f"tests.training.{program}", str(folder), *words,
    ]  # fmt: skip
    if host is not None:
        command = ["ip", "netns", "exec", host.namespace, *command]
        environment["GLOO_SOCKET_IFNAME"] = host.interface
    root = Path(__file__).parents[2]
    search = [str(root), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in search if path)
    with open(folder / "torchrun.txt", "w") as printed:
        process = subprocess.Popen(
            command, env=environment, cwd=root, stdout=printed, stderr=printed
        )
    run = Torchrun(process, folder)
    try:
        yield run
    finally:
        started = []
        if process.poll() is None:
            started = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        for each in started:
            if each.is_running():
                each.kill()


def wait_for(folder: Path, *names: str) -> None:
    """Wait until these files are there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < deadline, f"not all of {names} came"
        time.sleep(0.005)


def wait_for_step(metrics: Path, step: int, *running: Torchrun) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    wanted = f'{{"step": {step},'
    while not (metrics.exists() and wanted in metrics.read_text()):
        ended = [run for run in running if run.process.poll() is not None]
        assert not ended, f"ended before step {step}: {ended[0].printed.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"step {step} was never reached"
        time.sleep(0.005)
