"""Pickles and scripts where data and states of training are expected: nothing of them is run."""

import json
import pickle
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset

from otr import OTR, OTRTrainer
from otr.errors import UserError
from otr.rows import read_rows
from otr.training.checkpoints import MANIFEST, find, seal
from tests.security.test_models import Opened
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def trainer(folder: Path, max_steps: int) -> OTRTrainer:
    return OTRTrainer(
        model=model(),
        args=arguments(folder, save_strategy="steps", save_steps=1, max_steps=max_steps),
        train_dataset=dataset(8),
        processing_class=tokenizer(),
        objective=OTR(num_rollouts=4),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint of one step."""
    folder = tmp_path_factory.mktemp("saved")
    trainer(folder, 1).train()
    return folder


def test_a_checkpoint_can_be_gone_on_with_for_more_steps(tmp_path: Path, saved: Path) -> None:
    shutil.copytree(saved, tmp_path / "run")
    again = trainer(tmp_path / "run", 2)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 2
    assert find(tmp_path / "run").newest == tmp_path / "run/checkpoint-2"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("in_torch_s_format", [True, False])
def test_a_pickle_in_a_checkpoint_runs_nothing_even_with_a_manifest_that_fits(
    tmp_path: Path,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    in_torch_s_format: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    aside = Path(shutil.copytree(saved / "checkpoint-1", tmp_path / "aside"))
    (aside / MANIFEST).unlink()
    assert (aside / name).is_file()
    if in_torch_s_format:
        torch.save(Opened(), aside / name)
    else:
        (aside / name).write_bytes(pickle.dumps(Opened()))
    seal(aside, tmp_path / "checkpoint-1")
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match="eights.only"):
        trainer(tmp_path, 2).train(str(tmp_path / "checkpoint-1"))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_data_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Old pyarrow unpickled types of this name when it read a file's schema.
    kind = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Opened()),
    }
    field = pyarrow.field("text", pyarrow.string(), metadata=kind)
    table = pyarrow.table([["a word"]], schema=pyarrow.schema([field]))
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert [row.values for row in read_rows("rows.parquet")] == [{"text": "a word"}]
    assert not (tmp_path / "ran").exists()


def test_a_saved_dataset_s_files_lie_in_its_folder(tmp_path: Path) -> None:
    Dataset.from_list([{"text": "secret"}]).save_to_disk(str(tmp_path / "mine"))
    Dataset.from_list([{"text": "a word"}]).save_to_disk(str(tmp_path / "data"))
    assert len(read_rows(str(tmp_path / "data"))) == 1
    state = json.loads((tmp_path / "data/state.json").read_text())
    state["_data_files"] = [{"filename": "../mine/data-00000-of-00001.arrow"}]
    (tmp_path / "data/state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="is not a file of its folder"):
        read_rows(str(tmp_path / "data"))


def test_the_name_of_a_loading_script_is_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script").mkdir()
    (tmp_path / "script/script.py").write_text("open('ran', 'w')\n")
    for source in ("script", "script/script.py", "pandas"):
        (tmp_path / "rows.pkl").write_bytes(pickle.dumps(Opened()))
        with pytest.raises(UserError):
            read_rows(source)
    assert not (tmp_path / "ran").exists()
