"""Where a run of several machines goes on from."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from otr import runs
from otr.errors import UserError
from otr.training.agreement import agreed
from otr.training.folder import Standing
from tests.training.two_agreeing import checkpoint, found_by_two

_BEGINS, _FINISHED = json.dumps([False, None]), json.dumps([True, None])


def _from(step: int) -> str:
    return json.dumps([False, f"checkpoint-{step}"])


@pytest.mark.slow
def test_machines_share_a_run_folder_or_each_keep_whole_checkpoints_or_are_refused(
    tmp_path: Path,
) -> None:
    def disks(name: str) -> tuple[Path, Path]:
        return tmp_path / "a" / name, tmp_path / "b" / name

    shared = tmp_path / "shared"
    checkpoint(shared, 8, 0, 1)
    cut = disks("cut")
    for step, runs_with_it in ((4, cut), (8, cut[:1])):
        for rank, run in enumerate(runs_with_it):
            checkpoint(run, step, rank)
    missing = disks("missing")
    checkpoint(missing[0], 4, 0)
    swapped = disks("swapped")
    for rank, run in enumerate(swapped):
        checkpoint(run, 4, 1 - rank)
    half_done, done = disks("half-done"), disks("done")
    for rank, run in enumerate(half_done):
        checkpoint(run, 4, rank)
    for run in (half_done[0], *done):
        (run / runs.MODEL).mkdir(parents=True)
    fresh = disks("fresh")
    cases = [(shared, shared, False), (shared, shared, True), (*fresh, False)]
    cases += [(*each, True) for each in (fresh, cut, missing, swapped, half_done, done)]
    (tmp_path / "a-file").touch()
    cases.append((tmp_path / "a-file" / "run", tmp_path / "a-file" / "run", False))
    found = found_by_two([(str(one), str(other), on_each) for one, other, on_each in cases])

    assert found[0] == [_from(8)] * 2
    assert all("share" in words and "leave it out" in words for words in found[1])
    for words, run in zip(found[2], fresh, strict=True):
        assert f"the machines do not share {run}" in words
        assert "training.save_on_each_node=true" in words
    assert not any(run.exists() for run in fresh)
    assert found[3] == [_BEGINS] * 2
    # The newest that both have: one was cut off before it had named its own.
    assert found[4] == [_from(4)] * 2
    assert "no checkpoint is whole on every machine" in found[5][0]
    assert "there is checkpoint-4" in found[5][0] and "there is no checkpoint" in found[5][1]
    assert all("give each machine the --node-rank it had" in words for words in found[6])
    assert found[7] == [_from(4)] * 2 and not (half_done[0] / runs.MODEL).exists()
    assert found[8] == [_FINISHED] * 2
    # What keeps the first process from writing ends both of them.
    assert all("cannot be written: Not a directory" in words for words in found[9])


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path, 4, 0, 1)
    there = Standing(True, False, tmp_path / runs.CHECKPOINTS / "checkpoint-4")
    with pytest.raises(UserError, match=r"written by 2 process\(es\), and 1 would go on: start 2"):
        agreed(there, tmp_path, SimpleNamespace(world_size=1))
