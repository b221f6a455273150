"""Every field of the ready configurations is one that accelerate, DeepSpeed or otr knows."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from trl.trainer.sft_config import SFTConfig

from otr.training.config import load_run
from otr.training.options import built

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.name for path in CONFIGS.glob("*.yaml"))

pytestmark = pytest.mark.filterwarnings("ignore")


def launched(name: str) -> Any:
    """What `accelerate launch` makes of a configuration: the file's values where it knows them."""
    config = load_config_from_file(str(CONFIGS / name))
    assert isinstance(config, ClusterConfig)
    arguments = launch_command_parser().parse_args(["-m", "otr.commands.main", "train", "r.yaml"])
    for field, value in {
        **config.__dict__,
        **config.fsdp_config,
        **config.deepspeed_config,
    }.items():
        if field in config.fsdp_config or field in config.deepspeed_config:
            assert hasattr(arguments, field), f"{name}: accelerate launch has no {field}"
        setattr(arguments, field, value)
    return arguments


def test_there_is_one_for_each_way() -> None:
    assert NAMES == [
        "ddp.yaml", "fsdp2.yaml", "one_gpu.yaml", "several_machines.yaml", "zero3.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_accelerate_knows_every_field(name: str) -> None:
    arguments = launched(name)
    assert arguments.num_processes >= arguments.num_machines
    assert str(arguments.distributed_type.value) == {
        "one_gpu.yaml": "NO", "ddp.yaml": "MULTI_GPU", "zero3.yaml": "DEEPSPEED",
    }.get(name, "FSDP")  # fmt: skip


@pytest.mark.parametrize("name", ["fsdp2.yaml", "several_machines.yaml"])
def test_fsdp2_is_what_the_processes_get(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = launched(name)
    arguments.use_fsdp, arguments.dynamo_backend = True, "no"
    for variable, value in prepare_multi_gpu_env(arguments).items():
        if variable.startswith(("FSDP_", "ACCELERATE_USE_FSDP")):
            monkeypatch.setenv(variable, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert "SHARDED_STATE_DICT" in str(plugin.state_dict_type)
    assert plugin.cpu_ram_efficient_loading is False


def test_deepspeed_knows_every_field_of_zero3() -> None:
    settings = json.loads((CONFIGS / "zero3.json").read_text())
    assert launched("zero3.yaml").deepspeed_config_file == "configs/zero3.json"
    assert settings["zero_optimization"]["stage"] == 3
    zero = pytest.importorskip("deepspeed.runtime.zero.config")
    found = zero.DeepSpeedZeroConfig(**settings["zero_optimization"])
    assert found.gather_16bit_weights_on_model_save


def test_the_slurm_script_is_a_script_whose_overrides_hold(tmp_path: Path) -> None:
    script = CONFIGS / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    quoted = re.findall(r"(?<=['\s])(training\.\w+=(?:\{.*?\}|\S+))", script.read_text())
    assert len(quoted) == 2
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: demo\ndata: {train: a.jsonl, text: t}\noutput_dir: runs/a\n")
    settings = load_run(recipe, quoted).training
    assert settings["fsdp_config"]["version"] == 2
    assert built(SFTConfig, "training", settings, output_dir=str(tmp_path), bf16=False).fsdp is True
