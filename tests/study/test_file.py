"""Study files: what is refused, and that the message says where and what to do."""

from pathlib import Path
from typing import Any

import pytest

from otr.errors import UserError
from otr.study.file import load_study
from tests.study.studies import write_study

BASE: dict[str, Any] = {"model": "demo", "data": {"train": "rows.jsonl", "text": "text"}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": [{"name": "sfft"}]}, ["objectives", "number 1", "did you mean 'sft'"]),
        ({"objectives": [{"name": "otr", "rollouts": 3}]}, ["num_rollouts"]),
        ({"objectives": []}, ["objectives", "at least 1"]),
        ({"objectives": [{"name": "sft"}, {"name": "sft"}]}, ["twice"]),
        ({"objectives": [{"name": "grpo"}, {"name": "sft"}]}, ["number 1", "name it later"]),
        (
            {"objectives": [{"name": "sft"}, {"name": "grpo", "max_seconds": 0}]},
            ["number 2", "max_seconds must be a number above 0"],
        ),
        ({"objectives": [{"name": "sft"}, {"name": "grpo", "reward": 3}]}, ["reward"]),
        ({"learning_rates": [0.0]}, ["learning_rates", "above 0"]),
        ({"learning_rates": [1e-4, 1e-4]}, ["learning_rates", "twice"]),
        ({"seeds": [-1]}, ["seeds", "at least 0"]),
        ({"benchmark": {}}, ["benchmark", "did you mean 'benchmarks'"]),
        ({"validation": {"benchmark": "demo/in_domain"}}, ["flatter", "validation.benchmark"]),
        ({"benchmarks": {"in_domain": ["a/sums.yaml", "b/sums.yaml=c.jsonl"]}}, ["as 'sums'"]),
        (
            {"validation": {"benchmark": "gsm8k=a"}, "benchmarks": {"in_domain": ["gsm8k=b"]}},
            ["as 'gsm8k'", "gsm8k/validation=FILE", "YAML file"],
        ),
        (
            {
                "validation": {"benchmark": "gsm8k/validation=a"},
                "benchmarks": {"in_domain": ["gsm8k=a"]},
            },
            ["'gsm8k=a' is also compared on", "flatter"],
        ),
        ({"base": BASE | {"seed": 3}}, ["base.seed", "leave it out"]),
        ({"base": BASE | {"objective": {"name": "otr"}}}, ["base.objective", "leave it out"]),
        ({"base": BASE | {"training": {"learning_rate": 1e-4}}}, ["learning_rates"]),
        ({"base": BASE | {"modle": "x"}}, ["base, line", "modle", "did you mean 'model'"]),
        ({"base": {"model": "demo"}}, ["base: data", "is missing"]),
        ({"keep_models": "some"}, ["keep_models", "'all' or 'none'"]),
    ],
)
def test_a_wrong_study_is_refused_with_file_and_field(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    path = write_study(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        load_study(path)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message
    assert len(message.splitlines()) <= 6


def test_one_benchmark_s_questions_may_come_from_two_files(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        validation={"benchmark": "gsm8k/validation=a"},
        benchmarks={"in_domain": ["gsm8k=b"], "retention": ["gsm8k/easy=c"]},
    )
    assert load_study(path).validation.benchmark == "gsm8k/validation=a"


def test_overrides_replace_the_files_own_values(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    study = load_study(path, ["seeds=[7]", "base.training.max_steps=11"])
    assert study.seeds == [7]
    assert study.base["training"]["max_steps"] == 11


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seeds=0", "seeds=0 (command line): must be a list, as in seeds='[0]'"),
        ("learning_rates=[1e-4, abc]", "(command line): must be a number, found 'abc'"),
        ("sedes=[0]", "sedes=[0] (command line): no such key; did you mean 'seeds'?"),
        (
            "base.trianing.max_steps=1",
            "base.trianing.max_steps=1 (command line): trianing: no such",
        ),
        ("base.seed=1", "base.seed=1 (command line): the study sets it for each run"),
        (
            "validation.benchmark=demo/in_domain",
            "validation.benchmark=demo/in_domain (command line)",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_not_blamed_on_a_line_of_the_file(
    tmp_path: Path, override: str, said: str
) -> None:
    path = write_study(tmp_path)
    with pytest.raises(UserError) as refused:
        load_study(path, [override])
    assert said in str(refused.value) and ", line " not in str(refused.value)
    assert path.name not in str(refused.value)
