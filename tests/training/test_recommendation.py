"""The engine that is recommended fits, and changes no more than it must."""

import pytest

from benchmarks.scaling.architectures import ARCHITECTURES, shape
from otr.training.hardware import ETHERNET, H100, H200, INFINIBAND, RESERVE, Processor
from otr.training.recommendation import recommended
from otr.training.setting import Engine, Setting

pytestmark = pytest.mark.filterwarnings("ignore")


def setting(num_gpus: int) -> Setting:
    return Setting(num_gpus=num_gpus, rows=4, length=2048)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("processor", [H100, H200], ids=["H100", "H200"])
def test_what_is_recommended_fits_where_anything_does(name: str, processor: Processor) -> None:
    for rank in (None, 16):
        fitted = False
        for num_gpus in (1, 2, 8, 16, 64):
            plan = recommended(shape(name, rank), setting(num_gpus), processor, INFINIBAND)
            room = (1 - RESERVE.value) * processor.memory_bytes.value
            assert plan.fits == (plan.memory.total <= room)
            # Once it fits, more GPUs never make it not fit.
            assert plan.fits or not fitted
            fitted = fitted or plan.fits
        assert fitted


def test_sixteen_bytes_a_parameter_decide_what_a_gpu_can_train() -> None:
    eight = shape("Llama-3.1-8B")
    one, two = (recommended(eight, setting(n), H100, INFINIBAND) for n in (1, 2))
    # 8 B parameters at 16 bytes are 128 GB: not on one GPU of 80 GB without 8-bit states.
    assert (one.setting.weights, one.setting.optimizer_bits) == ("bfloat16", 8)
    assert (two.setting.engine, two.setting.weights) == (Engine.FSDP2, "float32")
    seventy = shape("Llama-3.1-70B")
    assert not recommended(seventy, setting(2), H200, INFINIBAND).fits
    assert recommended(seventy, setting(64), H100, INFINIBAND).setting.optimizer_bits == 32


def test_adapters_go_by_ddp_where_a_copy_fits_also_over_a_slow_network() -> None:
    plan = recommended(shape("Llama-3.1-8B", 16), setting(16), H100, ETHERNET)
    assert plan.setting.engine is Engine.DDP and plan.fits
    large = recommended(shape("Llama-3.1-70B", 16), setting(16), H100, ETHERNET)
    assert large.setting.engine is Engine.FSDP2 and large.setting.is_checkpointed
