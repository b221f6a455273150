"""Training ends when a logged column no longer improves, at the step that its values say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otr import runs
from otr.commands.main import main
from otr.errors import UserError
from otr.training.early_stopping import EarlyStopping

pytestmark = pytest.mark.filterwarnings("ignore")


def stopped_at(values: list[float], resumed_after: int | None = None, **options: Any) -> int | None:
    """The step at which a run stops that logs these values."""
    callback = EarlyStopping("eval_nll", shown=False, **options)
    for step, value in enumerate(values, start=1):
        control = SimpleNamespace(should_training_stop=False)
        state = SimpleNamespace(global_step=step, is_world_process_zero=True)
        callback.on_log(None, state, control, logs={"loss": 1.0})
        callback.on_log(None, state, control, logs={"eval_loss": 0.0, "eval_nll": value})
        if control.should_training_stop:
            return step
        if step == resumed_after:
            before, callback = callback, EarlyStopping("eval_nll", shown=False, **options)
            callback.restore(before.state())
    return None


@pytest.mark.parametrize(
    ("values", "options", "step"),
    [
        ([3, 2, 1, 0], {"patience": 1}, None),
        ([3, 2, 2, 1], {"patience": 1}, 3),
        ([3, 2, 2.5, 1, 1.5, 1.2, 0.5], {"patience": 2}, 6),
        ([3, 2.95, 2.93, 2.8], {"patience": 2, "min_delta": 0.1}, 3),
        ([1, 2, 3, 2, 2], {"patience": 2, "better": "higher"}, 5),
        ([float("nan"), float("nan"), 1.0], {"patience": 2}, 2),
    ],
)
def test_it_stops_after_so_many_values_without_an_improvement(
    values: list[float], options: dict[str, Any], step: int | None
) -> None:
    assert stopped_at(values, **options) == step
    for resumed_after in range(1, len(values)):
        assert stopped_at(values, resumed_after, **options) == step


@pytest.mark.parametrize("column", ["eval_hit_rate", "mean_token_accuracy", "reward"])
def test_more_is_better_of_accuracies_rates_and_rewards(column: str) -> None:
    callback = EarlyStopping(column, patience=1, shown=False)
    control = SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(global_step=1, is_world_process_zero=True)
    for value, stops in ((0.1, False), (0.2, False), (0.15, True)):
        callback.on_log(None, state, control, logs={column: value})
        assert control.should_training_stop is stops


def test_a_column_that_the_run_turns_out_not_to_log_is_named() -> None:
    with pytest.raises(UserError, match="logs no 'kept_fraction', only loss, nll"):
        EarlyStopping("kept_fraction").on_log(None, None, None, logs={"loss": 1.0, "nll": 2.0})


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"add {a} and 1 :", "completion": f"ans {a + 1} ."} for a in range(2, 9)]
    runs.write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(
        "model: demo-weak\n"
        "data: {train: rows.jsonl, validation: rows.jsonl, separator: ' '}\n"
        "training: {max_steps: 12, eval_strategy: steps, eval_steps: 2, save_strategy: 'no'}\n"
        "samples: {every_steps: 0}\n"
        "output_dir: run\n"
    )
    return "recipe.yaml"


def test_a_run_whose_evaluation_does_not_improve_ends_early_and_is_whole(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training.learning_rate=0", "early_stopping={column: eval_nll, patience: 2}"]
    assert main(["train", recipe, *words]) == 0
    lines = list(runs.read_jsonl(tmp_path / "run/metrics.jsonl"))
    # Evaluated after 2, 4 and 6 of 12 steps; without learning the first is the best.
    assert [line["step"] for line in lines if "eval_nll" in line] == [2, 4, 6]
    assert max(line["step"] for line in lines) == 6
    assert "step 6: stopping early, eval_nll was best at step 2" in capsys.readouterr().err
    assert (tmp_path / "run/model/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("early_stopping.column=eval_nnl", "did you mean 'eval_nll'?"),
        ("early_stopping.column=tokens_per_second", "there is no column 'tokens_per_second'"),
        ("early_stopping={column: nll, patience: 0}", "early_stopping.patience"),
        ("early_stopping={patience: 2}", "early_stopping.column: is missing"),
        ("early_stopping={column: nll, pateince: 2}", "did you mean 'patience'?"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert main(["train", recipe, setting]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_column_of_the_evaluation_needs_validation_data(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data.validation=null", "training={max_steps: 2}", "early_stopping.column=eval_nll"]
    assert main(["train", recipe, *words]) == 2
    assert "give data.validation" in capsys.readouterr().err
