"""What is said of a process that is lost, and of what only looks like one."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from otr import runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.errors import ProcessLost
from otr.training import lost_process, pipeline
from otr.training.config import Run
from otr.training.lost_process import is_lost_process, lost_process_words


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.filterwarnings("ignore")
def test_a_process_that_is_alone_at_the_start_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    write_demonstrations(REGIMES[0], 0, tmp_path / "rows.jsonl")
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": data_section(tmp_path / "rows.jsonl"),
            "objective": {"name": "sft"},
            "training": {"max_steps": 2, "ddp_timeout": 1, "use_cpu": True},
            "output_dir": str(tmp_path / "run"),
        }
    )
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    for name, value in (place | {"MASTER_PORT": str(free_port)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lost_process, "_JOINING_SECONDS", 1)
    with pytest.raises(ProcessLost) as caught:
        pipeline.train(run, progress=False)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("process 0 of 2 (on ")
    assert lines[0].endswith("lost another process before the first step: it could not be reached")
    assert lines[3] == "The same command on every machine begins anew: there is no checkpoint yet"
    assert not (tmp_path / "run").exists()


def test_the_words_name_the_newest_checkpoint_or_the_model_that_is_there(tmp_path: Path) -> None:
    error = RuntimeError("[/src/gloo/tcp/pair.cc:5] Connection closed by peer \x1b[192.0.2.2]:7")
    for step in (8, 16):
        (tmp_path / runs.CHECKPOINTS / f"checkpoint-{step}").mkdir(parents=True)
    lines = lost_process_words(error, tmp_path, None).splitlines()
    assert lines[0].endswith(": its connection was closed")
    assert lines[1] == r"  Connection closed by peer \x1b[192.0.2.2]:7"
    assert lines[3].endswith(f"goes on from {tmp_path / runs.CHECKPOINTS / 'checkpoint-16'}")
    (tmp_path / runs.MODEL).mkdir()
    lines = lost_process_words(error, tmp_path, None).splitlines()
    assert lines[3] == f"The model is whole: {tmp_path / runs.MODEL}"


def test_other_errors_are_not_taken_for_a_lost_process(tmp_path: Path, free_port: int) -> None:
    with pytest.raises(RuntimeError) as nobody:
        TCPStore("127.0.0.1", free_port, is_master=False, timeout=timedelta(seconds=1))
    assert is_lost_process(nobody.value)
    with pytest.raises(RuntimeError) as shapes:
        torch.mm(torch.ones(2, 3), torch.ones(2, 3))
    others = [
        shapes.value,
        torch.distributed.DistBackendError("NCCL error: invalid usage; Duplicate GPU detected"),
        ValueError("Connection closed by peer"),
    ]
    assert [lost_process_words(error, tmp_path, None) for error in others] == ["", "", ""]
