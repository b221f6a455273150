"""The sandbox: hostile programs are stopped, each in the way named, and nothing is left behind."""

import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from otr.errors import UserError
from otr.evaluation import sandbox
from otr.evaluation.launch import Ending
from otr.evaluation.sandbox import (
    Limits,
    Program,
    Protections,
    SandboxError,
    protections,
    run_all,
    run_python,
)
from tests.evaluation.hostile import HOSTILE, Hostile, ended_as_named, filled, limits_of
from tests.evaluation.left_behind import SOURCE, alive, launchers, wait_until

_markers = count(7000 + os.getpid() % 1000)


def _held(*, namespaces: bool) -> Protections:
    try:
        held = protections(namespaces=namespaces)
    except UserError as error:
        pytest.skip(f"this machine cannot: {error}")
    if held.namespaces != namespaces or not (held.system_calls and held.landlock):
        pytest.skip(f"this machine cannot: {held}")
    return held


@pytest.fixture(params=[True, False], ids=["in namespaces", "without namespaces"])
def guards(request: pytest.FixtureRequest) -> Protections:
    return _held(namespaces=request.param)


@pytest.fixture
def listeners() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port on loopback where TCP, UDP and two abstract Unix sockets listen."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(f"\0otr-{port}")
    unix.listen()
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(f"\0otr-datagrams-{port}")
    found = [tcp, udp, unix, datagrams]
    yield port, found
    for each in found:
        each.close()


@pytest.fixture(scope="module")
def segment() -> Iterator[int]:
    """Shared memory of System V that every user may read and write."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.shmget(0, 4096, 0o1666)
    assert number >= 0, os.strerror(ctypes.get_errno())
    yield number
    libc.shmctl(number, 0, None)


def _heard(listeners: list[socket.socket]) -> bool:
    for each in listeners:
        is_stream = each.type == socket.SOCK_STREAM
        each.setblocking(False)
        try:
            each.accept() if is_stream else each.recv(1)
        except BlockingIOError:
            continue
        return True
    return False


@pytest.mark.parametrize("hostile", HOSTILE, ids=[each.name for each in HOSTILE])
def test_a_hostile_program_is_stopped_and_nothing_is_left(
    hostile: Hostile,
    guards: Protections,
    listeners: tuple[int, list[socket.socket]],
    segment: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "TOP-SECRET")
    secret = tmp_path / "secret"
    secret.write_text("TOP-SECRET")
    secret.chmod(0o600)
    port, sockets = listeners
    marker = f"{next(_markers)}.25"
    values = {"outside": tmp_path, "secret": secret, "port": port, "segment": segment}
    text = filled(hostile.text, **values, marker=marker)

    before, folders = launchers(), []

    def make_folder(**options: str) -> str:
        folders.append(mkdtemp(**options))
        return folders[-1]

    mkdtemp = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", make_folder)
    program = Program(text=text, tests=hostile.tests)
    outcome = run_python(program, limits=limits_of(hostile), guards=guards)

    alone = guards.namespaces or os.geteuid() == 0
    assert ended_as_named(hostile, outcome, alone=alone), outcome
    assert launchers() <= before
    assert alive(marker) == []
    assert [os.path.exists(folder) for folder in folders] == [False]
    assert {path.name for path in tmp_path.iterdir()} == {"secret"}
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("TOP-SECRET", 0o600)
    assert not _heard(sockets)


def test_a_gigabyte_of_output_is_read_and_not_kept(guards: Protections) -> None:
    text = "import os\nfor _ in range(1024): os.write(1, bytes(1 << 20))"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = run_python(text, limits=Limits(output_kb=1), guards=guards)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert outcome.finished
    assert outcome.output_cut
    assert len(outcome.stdout) == 1024
    assert grown_mb < 64


def test_output_and_exceptions_are_told(guards: Protections) -> None:
    text = "import sys\nprint('out')\nprint('err', file=sys.stderr)\nraise KeyError('k')"
    outcome = run_python(text, guards=guards)
    assert (outcome.reason, outcome.detail) == ("raised", "KeyError: 'k'")
    assert (outcome.stdout, outcome.stderr, outcome.output_cut) == ("out\n", "err\n", False)


def test_a_program_has_an_empty_home_of_its_own_and_installed_packages(
    guards: Protections,
) -> None:
    text = (
        "import os, tempfile, numpy, decimal\n"
        "assert os.listdir('.') == [] and os.getcwd() == os.environ['HOME']\n"
        "assert os.getuid() != 0 and os.getgroups() in ([], [os.getgid()])\n"
        "with tempfile.TemporaryFile() as stream: stream.write(b'x')\n"
        "assert numpy.ones(3) @ numpy.ones(3) == 3\n"
        "assert set(os.environ) == {'HOME', 'TMPDIR', 'PATH', 'LANG', 'OMP_NUM_THREADS',"
        " 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'}"
    )
    outcome = run_python(text, guards=guards)
    assert outcome.finished, outcome


def test_sets_of_words_have_the_same_order_each_time() -> None:
    _held(namespaces=True)
    text = "print(list({'one', 'two', 'three', 'four', 'five', 'six'}))"
    first, second = run_all([text, text], num_workers=1)
    assert first.stdout == second.stdout != ""


def test_in_namespaces_only_the_library_is_to_be_seen() -> None:
    guards = _held(namespaces=True)
    text = (
        "import os, sys\n"
        "seen = [p for p in ('/proc/self', '/sys/kernel', '/etc/passwd', '/home', '/var', '/run') "
        "if os.path.exists(p)]\n"
        "assert seen == [], seen\n"
        "assert os.getpid() == 2, os.getpid()\n"
        "import socket\nassert socket.if_nameindex"
    )
    outcome = run_python(text, guards=guards)
    assert outcome.finished, outcome


_ONE_GUARD = {
    "namespaces": (
        "writes_a_file_outside",
        "reads_a_secret_file",
        "calls_a_listener",
        "sends_a_datagram",
        "opens_a_unix_socket",
        "spoils_the_standard_library",
        "leaves_a_process_in_a_session_of_its_own",
        "writes_very_many_files",
    ),
    "landlock": ("writes_a_file_outside", "reads_a_secret_file", "calls_a_listener"),
    "system_calls": (
        "calls_a_listener",
        "sends_a_datagram",
        "sends_a_datagram_from_a_pair",
        "kills_its_parent",
        "signals_its_parent_by_a_pipe",
        "attaches_memory_that_others_share",
        "outruns_whoever_hunts_it",
        "mounts",
    ),
}


@pytest.mark.parametrize(
    ("guard", "name"), [(guard, name) for guard, names in _ONE_GUARD.items() for name in names]
)
def test_one_guard_is_enough_for_what_it_guards(
    guard: str,
    name: str,
    listeners: tuple[int, list[socket.socket]],
    segment: int,
    tmp_path: Path,
) -> None:
    _held(namespaces=guard == "namespaces")
    guards = Protections(
        namespaces=guard == "namespaces",
        system_calls=guard == "system_calls",
        landlock=guard == "landlock",
    )
    (tmp_path / "secret").write_text("TOP-SECRET")
    hostile = next(each for each in HOSTILE if each.name == name)
    values = {"outside": tmp_path, "secret": tmp_path / "secret", "port": listeners[0]}
    values |= {"segment": segment}
    before = launchers()
    text = filled(hostile.text, **values, marker=f"{next(_markers)}.5")
    outcome = run_python(text, limits=limits_of(hostile), guards=guards)
    assert ended_as_named(hostile, outcome, alone=True), outcome
    assert launchers() <= before
    assert not _heard(listeners[1])
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_programs_run_several_at_a_time_in_their_order() -> None:
    _held(namespaces=True)
    done = []
    outcomes = run_all(
        [f"print({number})" for number in range(6)],
        num_workers=3,
        progress=lambda num_done, num_all: done.append((num_done, num_all)),
    )
    assert [outcome.stdout for outcome in outcomes] == [f"{number}\n" for number in range(6)]
    assert done == [(number, 6) for number in range(1, 7)]


def test_nothing_is_left_when_the_caller_is_killed(guards: Protections) -> None:
    marker = f"{next(_markers)}.75"
    before = launchers()
    code = (
        "from otr.evaluation.sandbox import Limits, protections, run_python\n"
        f"held = protections(namespaces={guards.namespaces})\n"
        "print('ready', flush=True)\n"
        'text = \'import os\\nopen("file", "w")\\nos.fork()\\n'
        f'os.execv("/usr/bin/sleep", ["sleep", "{marker}"])\'\n'
        "run_python(text, guards=held, limits=Limits(wall_seconds=600))\n"
    )
    # Not below pytest's own folder, which the program's user may not enter.
    with tempfile.TemporaryDirectory(prefix="otr-killed-") as folder:
        os.chmod(folder, 0o755)
        caller = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": folder},
            stdout=subprocess.PIPE,
        )
        assert caller.stdout is not None
        with caller.stdout:
            assert caller.stdout.readline() == b"ready\n"
            wait_until(lambda: len(alive(f"sleep {marker}")) == 2)
            assert os.listdir(folder) != []
            caller.send_signal(signal.SIGKILL)
            caller.wait()
        wait_until(lambda: not alive(f"sleep {marker}") and launchers() <= before)
        wait_until(lambda: os.listdir(folder) == [])


def test_a_guard_that_cannot_be_put_up_means_that_nothing_runs(tmp_path: Path) -> None:
    guards = _held(namespaces=True)
    with pytest.raises(SandboxError, match="could not be put up"):
        run_python("print('ran')", limits=Limits(scratch_mb=-1), guards=guards)


def test_without_the_least_protection_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = sandbox.launch

    def fail(job: dict) -> Ending:
        return launch(job | {"guards": ["landlock"], "packages": None})

    monkeypatch.setattr(sandbox, "launch", fail)
    with pytest.raises(UserError, match="no program can be confined here"):
        protections.__wrapped__()


def test_each_test_that_the_security_notes_name_is_there() -> None:
    notes = (SOURCE.parent / "SECURITY.md").read_text()
    table = notes.partition("## Running code")[2].partition("There is no telemetry")[0]
    rows = [line.split("|")[-2] for line in table.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(?:test_code_answers.py`: `)?([a-z_.]+)`", row) for row in rows]
    tests = "".join((Path(__file__).parent / name).read_text() for name in _TEST_FILES)
    known = {hostile.name for hostile in HOSTILE} | set(re.findall(r"def (test_\w+)", tests))
    assert len(rows) == 15 and all(named)
    for name in (name for names in named for name in names):
        tail = name.removeprefix("...")
        assert any(each == tail or each.endswith(tail) and tail != name for each in known), name


_TEST_FILES = ("test_sandbox.py", "test_code_answers.py")


def test_what_is_missing_is_said() -> None:
    all_there = Protections(namespaces=True, system_calls=True, landlock=True)
    assert all_there.missing() == []
    least = Protections(
        namespaces=False, system_calls=False, landlock=False, why_no_namespaces="EPERM"
    )
    assert [gap.split(":")[0] for gap in least.missing()] == [
        "no namespaces (EPERM)",
        "no filter of system calls",
        "no Landlock",
    ]
