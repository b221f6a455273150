"""A process or a machine that goes away in the middle of a run of several."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from otr import runs
from otr.commands.main import main
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.training.checkpoints import find, latest
from reliability.ends import differing, end_of
from tests.processes import launch, together
from tests.training.hosts import (
    Host,
    Torchrun,
    torchrun,
    two_hosts,
    wait_for,
    wait_for_step,
    why_no_hosts,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_STEPS = 40
_ONE_MACHINE = ("--standalone", "--nproc-per-node=2")
_TIMEOUT_SECONDS = 10


def recipe(folder: Path, output_dir: str | Path, rows: int = 4, **training: Any) -> list[str]:
    """The words that train a run in `output_dir`."""
    folder.mkdir(exist_ok=True)
    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    run = {
        "model": "demo-weak",
        "data": data_section(folder / "rows.jsonl") | {"limit": 40},
        "objective": {"name": "otr", "num_rollouts": 16},
        "training": {
            "max_steps": _STEPS, "save_steps": 4, "per_device_train_batch_size": rows,
            "learning_rate": 1e-3, "ddp_timeout": _TIMEOUT_SECONDS, "use_cpu": True, **training,
        },
        "samples": {"every_steps": 8, "max_new_tokens": 4},
        "output_dir": str(output_dir),
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    return ["train", str(folder / "run.json")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The end of a run of two processes on one machine that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken")
    with torchrun(folder / "first", _ONE_MACHINE, recipe(folder, folder / "run")) as run:
        assert run.wait() == 0, run.printed.read_text()
    return end_of(folder / "run", _STEPS)


def assert_told(stderr: str, rank: int, reason: str, run: Path) -> None:
    """Short, what happened, and how to go on; from a checkpoint that is whole."""
    told = stderr[stderr.index("otr train: ") :].splitlines()
    assert told[0].startswith(f"otr train: process {rank} of 2 (on ")
    assert "lost another process in step" in told[0] and reason in told[0]
    newest = find(run / runs.CHECKPOINTS).newest
    assert newest is not None
    assert told[3] == f"The same command on every machine goes on from {newest}"
    assert "Traceback" not in stderr


def assert_nothing_half(run: Path) -> None:
    assert find(run / runs.CHECKPOINTS).broken == ()
    assert not (run / runs.MODEL).exists()
    assert all("loss" in line for line in runs.read_jsonl(run / runs.METRICS))


def test_a_killed_process_and_a_signal_to_torchrun_end_both_and_they_go_on_bit_by_bit(
    tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    """After the kill by torchrun's own restart, after the signal by the same command."""
    run = tmp_path / "run"
    words = recipe(tmp_path, run)
    with torchrun(tmp_path / "both", (*_ONE_MACHINE, "--max-restarts=1"), words) as stopped:
        wait_for_step(run / runs.METRICS, 5, stopped)
        stopped.worker(1).kill()
        wait_for(stopped.folder, "status-0")
        assert stopped.status(0) == 1
        assert_told(stopped.stderr(0), 0, "its connection was closed", run)
        assert_nothing_half(run)
        wait_for_step(run / runs.METRICS, 10, stopped)
        stopped.process.send_signal(signal.SIGTERM)
        assert stopped.wait() == 1
        # torchrun has one status for everything that is not success; its processes tell more.
        assert [stopped.status(rank) for rank in range(2)] == [75, 75]
        newest = latest(run / runs.CHECKPOINTS)
        for rank in range(2):
            said = stopped.stderr(rank, restart=1)
            assert f"stopped; the same command goes on from {newest}" in said
        assert_nothing_half(run)
    last = together(2, "otr", *words)
    assert [each.status for each in last] == [0, 0], last
    for told in ("tokens learned", f"going on from {newest}", "trained: "):
        assert [each.stderr.count(told) for each in last] == [1, 0]
    assert differing(unbroken, end_of(run, _STEPS)) == []


def test_a_second_signal_to_torchrun_ends_its_processes_at_once(tmp_path: Path) -> None:
    with torchrun(tmp_path / "run", _ONE_MACHINE, [], program="stops_at_no_signal") as run:
        wait_for(run.folder, "begun-0", "begun-1")
        workers = [run.worker(rank) for rank in range(2)]
        run.process.send_signal(signal.SIGTERM)
        wait_for(run.folder, "noted-0", "noted-1")
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 1
        # They would have slept for ten minutes.
        assert psutil.wait_procs(workers, timeout=60)[1] == []


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    with two_hosts() as made:
        yield made


def on_both(
    stack: ExitStack, folder: Path, hosts: tuple[Host, Host], words: list[str]
) -> list[Torchrun]:
    """The same command on two hosts."""
    place = ("--nnodes=2", f"--master-addr={hosts[0].address}", "--master-port=29500")
    return [
        stack.enter_context(
            torchrun(folder / f"host-{rank}", (*place, f"--node-rank={rank}"), words, host=host)
        )
        for rank, host in enumerate(hosts)
    ]


def test_hosts_of_which_one_is_cut_off_end_in_time_and_go_on_to_the_weights_of_one_process(
    tmp_path: Path, hosts: tuple[Host, Host], unbroken: dict[str, Any]
) -> None:
    """And bit by bit to those of two processes on one machine that nothing happened to."""
    run = tmp_path / "run"
    words = recipe(tmp_path, run)
    with ExitStack() as stack:
        both = on_both(stack, tmp_path / "cut", hosts, words)
        wait_for_step(run / runs.METRICS, 5, *both)
        hosts[1].cut_off()
        for rank, each in enumerate(both):
            assert each.wait() == 1
            assert each.status(rank) == 1
            reason = f"nothing came from it for {_TIMEOUT_SECONDS} s (training.ddp_timeout"
            assert_told(each.stderr(0), rank, reason, run)
        assert_nothing_half(run)
    # One machine may go on for two.
    launch(2, "otr", *words)
    end = end_of(run, _STEPS)
    assert differing(unbroken, end) == []

    assert main(recipe(tmp_path / "one", tmp_path / "one/run", rows=8)) == 0
    for name, value in load_file(tmp_path / "one/run/model/model.safetensors").items():
        found = end["weights"][name]
        assert (found - value).norm() <= 1e-5 * value.norm().clamp(min=1e-9), name
