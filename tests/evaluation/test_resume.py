"""An evaluation that was stopped or killed goes on, and ends as an unbroken one."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.evaluation import generation, pipeline
from otr.evaluation.partial import PartialAnswers
from otr.evaluation.pipeline import evaluate
from otr.signals import EXIT_STOPPED, Stopped
from tests.processes import forks, together

BENCHMARKS = ["demo/in_domain", "demo/longer"]
SAMPLED: dict[str, Any] = {"samples": 2, "temperature": 1.0, "limit": 12}
NUM_ANSWERS = 48


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_MAX_ROWS", 7)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an evaluation that nothing interrupts writes."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "_MAX_ROWS", 7)
        evaluate("demo-mid", BENCHMARKS, output=folder, **SAMPLED)
    assert files(folder).keys() == {runs.SCORES, runs.ANSWERS}
    return files(folder)


def stopped_after(number: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something done when so many answers more have been kept."""
    usual, count = PartialAnswers.append, 0

    def append(self: PartialAnswers, *words: Any) -> None:
        nonlocal count
        usual(self, *words)
        count += 1
        if count == number:
            act()

    monkeypatch.setattr(PartialAnswers, "append", append)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stop(folder: Path, number: int, **options: Any) -> str:
    """Evaluate until so many answers are there; what is said then."""
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(number, patch, terminate)
        with pytest.raises(Stopped) as caught:
            evaluate("demo-mid", BENCHMARKS, output=folder, **SAMPLED | options)
    return str(caught.value)


def _evaluated(folder: str) -> None:
    """What a process that is to be killed does."""
    generation._MAX_ROWS = 7
    evaluate("demo-mid", BENCHMARKS, output=Path(folder), **SAMPLED)


def kept(folder: Path) -> int:
    """How many answers are on disk; the first line of each file is none."""
    contents = [path.read_bytes() for path in (folder / runs.PARTIAL).glob("*.jsonl")]
    return sum(content.count(b"\n") - 1 for content in contents)


@pytest.mark.slow
def test_one_that_is_killed_three_times_at_random_moments_ends_as_an_unbroken_one(
    tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    context = forks()
    chance = random.Random(2)
    seen = [0]
    for _ in range(3):
        process = context.Process(target=_evaluated, args=(str(tmp_path),))
        process.start()
        aim = seen[-1] + chance.randrange(2, 12)
        while kept(tmp_path) < aim and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / runs.SCORES).exists()
        seen.append(kept(tmp_path))
    assert 0 < seen[1] < seen[2] < seen[3]
    evaluate("demo-mid", BENCHMARKS, output=tmp_path, **SAMPLED)
    assert files(tmp_path) == unbroken


def test_a_half_written_line_is_answered_again_wherever_it_was_cut(
    tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    stop(tmp_path / "stopped", 20)
    chance = random.Random(0)
    for case in range(3):
        folder = tmp_path / str(case)
        shutil.copytree(tmp_path / "stopped", folder)
        for path in (folder / runs.PARTIAL).iterdir():
            whole = path.read_bytes()
            # The first line of answers is written with the file, so it is there.
            head = whole.index(b"\n") + 1 if path.suffix == ".jsonl" else 0
            os.truncate(path, chance.randrange(head, len(whole)))
        evaluate("demo-mid", BENCHMARKS, output=folder, **SAMPLED)
        assert files(folder) == unbroken


def test_a_signal_keeps_the_answers_and_exits_with_75_and_the_way_to_go_on(
    tmp_path: Path,
    unbroken: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["eval", "demo-mid", "--benchmark", BENCHMARKS[0], "--benchmark", BENCHMARKS[1]]
    words += ["--samples", "2", "--temperature", "1.0", "--limit", "12", "--output", str(tmp_path)]
    for number in (5, 16):
        with monkeypatch.context() as patch:
            stopped_after(number, patch, terminate)
            assert main(words) == EXIT_STOPPED
        assert "the same command goes on" in capsys.readouterr().err
    assert main(words) == 0
    said = capsys.readouterr().err
    assert f"of {NUM_ANSWERS} answers are there" in said
    assert f"scores: {tmp_path / runs.SCORES}   answers: {tmp_path / runs.ANSWERS}" in said
    assert files(tmp_path) == unbroken


def test_answers_that_are_there_are_not_generated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(tmp_path, 20)
    num_kept = kept(tmp_path)
    fresh: list[Any] = []
    usual = PartialAnswers.append
    monkeypatch.setattr(
        PartialAnswers, "append", lambda self, *words: (fresh.append(words), usual(self, *words))
    )
    seen: list[tuple[int, int]] = []
    evaluate("demo-mid", BENCHMARKS, output=tmp_path, progress=lambda *n: seen.append(n), **SAMPLED)
    assert len(fresh) == NUM_ANSWERS - num_kept
    assert seen == [(number, NUM_ANSWERS) for number in range(num_kept, NUM_ANSWERS + 1)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 0.9}, "temperature: 1.0, now 0.9"),
        ({"samples": 3}, "samples: 2, now 3"),
        ({"seed": 1}, "seed: 0, now 1"),
        ({"limit": 13}, "limit: 12, now 13"),
        ({"prompt": "chat"}, "prompt: 'base', now 'chat'"),
    ],
)
def test_answers_made_otherwise_are_refused_and_stay_until_all_begins_anew(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    stop(tmp_path, 20)
    before = files(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        evaluate("demo-mid", BENCHMARKS, output=tmp_path, **SAMPLED | change)
    assert "--restart begins anew" in str(caught.value)
    assert files(tmp_path) == before


def test_other_weights_under_the_same_name_are_another_model(
    tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    from otr.pretrained import load_model, load_tokenizer

    model, folder = tmp_path / "model", tmp_path / "scores"
    load_tokenizer("demo-weak").save_pretrained(model)
    load_model("demo-weak").save_pretrained(model)
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(5, patch, terminate)
        with pytest.raises(Stopped):
            evaluate(str(model), BENCHMARKS, output=folder, **SAMPLED)
    load_model("demo-mid").save_pretrained(model)
    with pytest.raises(UserError, match="(?s)made otherwise:.*model: "):
        evaluate(str(model), BENCHMARKS, output=folder, **SAMPLED)
    evaluate(str(model), BENCHMARKS, output=folder, restart=True, **SAMPLED)
    assert files(folder)[runs.ANSWERS] == unbroken[runs.ANSWERS]
    # What was scored with them is replaced as soon as the weights change again.
    load_model("demo-weak").save_pretrained(model)
    evaluate(str(model), BENCHMARKS[:1], output=folder, limit=1)
    assert runs.read_json(folder / runs.SCORES).keys() == {BENCHMARKS[0]}


def test_what_is_finished_is_not_done_again_unless_asked_for(
    tmp_path: Path, unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in unbroken.items():
        (tmp_path / name).write_bytes(content)
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_engine", lambda *words, **options: pytest.fail("loaded"))
        scores = evaluate("demo-mid", BENCHMARKS, output=tmp_path, say=said.append, **SAMPLED)
    assert scores == json.loads(unbroken[runs.SCORES])
    assert len(said) == 2 and all("scored before" in line for line in said)
    assert files(tmp_path) == unbroken
    asked: list[Any] = []
    usual = pipeline.load_engine
    monkeypatch.setattr(
        pipeline, "load_engine", lambda *words, **options: asked.append(1) or usual(*words, **options)
    )  # fmt: skip
    evaluate("demo-mid", BENCHMARKS, output=tmp_path, restart=True, **SAMPLED)
    assert asked == [1]
    assert files(tmp_path) == unbroken


def test_a_damaged_line_is_refused_with_its_place(tmp_path: Path) -> None:
    stop(tmp_path, 20)
    path = tmp_path / runs.PARTIAL / "demo%2Flonger.0.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-9], *lines[2:]]))
    with pytest.raises(UserError, match="longer.0.jsonl, line 2: is damaged; --restart"):
        evaluate("demo-mid", BENCHMARKS, output=tmp_path, **SAMPLED)


@pytest.mark.slow
def test_two_processes_write_what_one_does_also_when_one_of_them_is_stopped(
    tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    folder = tmp_path / "scores"
    words = ["eval", "demo-mid", "--benchmark", BENCHMARKS[0], "--benchmark", BENCHMARKS[1]]
    words += ["--samples", "2", "--temperature", "1.0", "--limit", "12", "--output", str(folder)]

    stopped = together(2, "tests.evaluation.two_stopped", *words)
    assert [each.status for each in stopped] == [EXIT_STOPPED] * 2
    assert all("the same command goes on" in each.stderr for each in stopped)
    partial = {path.name for path in (folder / runs.PARTIAL).glob("*.jsonl")}
    assert {name.split(".")[1] for name in partial} == {"0", "1"}
    whole = together(2, "tests.evaluation.two_stopped", *words, GOES_ON="1")
    assert [each.status for each in whole] == [0, 0], whole
    assert [each.stdout.count("demo/longer") for each in whole] == [1, 0]
    assert files(folder) == unbroken
