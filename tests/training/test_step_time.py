"""FLOPs, bytes on the network and seconds, counted by hand."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from benchmarks.scaling.architectures import shape
from otr.training.hardware import ETHERNET, H100, HEAD_SECONDS_PER_LOGIT, INFINIBAND, probed
from otr.training.setting import Engine, Setting
from otr.training.step_time import head_flops, layer_flops, network_bytes, time_of
from tests.training.plans import small

pytestmark = pytest.mark.filterwarnings("ignore")

LAYER = 2 * 64 * 96 + 2 * 64 * 32 + 3 * 64 * 224 + 2 * 64
SETTING = Setting(rows=2, length=100)


def test_flops_are_counted_by_hand() -> None:
    of, tokens = small(), 200
    products, attention = 2 * 3 * LAYER * tokens, 2 * 96 * 100 * tokens * 3
    assert layer_flops(of, SETTING) == 3 * products + 3.5 * attention
    again = layer_flops(of, replace(SETTING, is_checkpointed=True))
    assert again == 4 * products + 4.5 * attention
    assert head_flops(of, replace(SETTING, supervised_share=0.5)) == 3 * 2 * 64 * 1000 * 100
    adapted = small(lora_rank=4)
    # Rank 4: 4 (in + out) parameters for each of seven products, and no gradient of the weights.
    pairs = 2 * (64 + 96) + 2 * (64 + 32) + 3 * (64 + 224)
    both = 2 * 3 * (LAYER + 4 * pairs) * tokens
    assert layer_flops(adapted, SETTING) == 2 * both + 3.5 * attention
    assert head_flops(adapted, SETTING) == 2 * 2 * 64 * 1000 * 200


def test_network_bytes_are_those_of_rings() -> None:
    of = small()
    num_params = 3 * LAYER + 64 + 2 * 64000
    ddp = Setting(engine=Engine.DDP, num_gpus=4)
    assert network_bytes(of, ddp) == 2 * 3 / 4 * 4 * num_params
    assert network_bytes(of, replace(ddp, accumulation=8)) == network_bytes(of, ddp)
    fsdp = replace(ddp, engine=Engine.FSDP2)
    gathered = 2 * (num_params + 3 * LAYER + 64)
    assert network_bytes(of, fsdp) == 3 / 4 * (gathered + 2 * num_params)
    twice = network_bytes(of, replace(fsdp, accumulation=2)) - network_bytes(of, fsdp)
    assert twice == 3 / 4 * gathered
    zero = replace(ddp, engine=Engine.ZERO3)
    assert network_bytes(of, zero) == 3 / 4 * 3 * 2 * num_params
    assert network_bytes(of, Setting()) == 0


def test_a_step_is_its_parts_and_the_network_hides_behind_the_layers_or_does_not() -> None:
    of = small()
    setting = Setting(engine=Engine.FSDP2, num_gpus=16, rows=2, length=100, accumulation=3)
    step = time_of(of, setting, H100, ETHERNET)
    assert step.layers == pytest.approx(3 * layer_flops(of, setting) / H100.layer_flops.value)
    logits = 200 * 1000 * H100.logit_seconds.value
    products = head_flops(of, setting) / H100.head_flops.value
    assert step.head == pytest.approx(3 * (products + logits))
    assert step.network == network_bytes(of, setting) / (0.8 * 12.5e9)
    assert step.apart == pytest.approx(step.layers + step.head + step.update + step.network)
    assert step.overlapped == pytest.approx(step.apart - min(step.layers, step.network))
    assert step.tokens == 200 * 3 * 16


def test_a_head_that_multiplies_in_float32_is_slower() -> None:
    of, setting = shape("Llama-3.1-8B"), Setting(rows=4, length=2048)
    long = time_of(of, replace(setting, compute="float32"), H100).head
    assert 5 < long / time_of(of, setting, H100).head < 12
    # Under autocast it multiplies in 16 bits, as with weights of 16 bits.
    of_short = time_of(of, replace(setting, weights="bfloat16"), H100).head
    assert time_of(of, setting, H100).head == of_short


def test_rings_are_as_fast_as_their_slowest_link() -> None:
    assert INFINIBAND.bytes_per_second(8, 8) == 0.8 * 450e9
    assert INFINIBAND.bytes_per_second(16, 8) == 0.8 * 400e9
    assert ETHERNET.bytes_per_second(16, 8) == 0.8 * 12.5e9


def test_the_published_rate_of_the_layers_is_the_published_tokens_by_our_count() -> None:
    of, setting = shape("Llama-3.1-8B"), Setting(rows=2, length=8192)
    flops = (layer_flops(of, setting) + head_flops(of, setting)) / setting.tokens
    assert H100.layer_flops.value == pytest.approx(5762 * flops, rel=0.005)
    head = 3 * 2 * 8192 * 4096 * 151936 / 42e-3
    assert H100.head_flops.value == pytest.approx(head, rel=0.005)


def test_the_heads_measured_figure_is_the_benchmarks() -> None:
    path = Path(__file__).parents[2] / HEAD_SECONDS_PER_LOGIT.source.split(":")[0]
    seconds = []
    for case in json.loads(path.read_text("utf-8"))["cases"]:
        is_one = case["dtype"] == "float32" and case["states"] == "random"
        if not is_one or case["vocabulary"] < 16384 or "OTR" not in case["heads"]:
            continue
        logits = case["rows"] * (1 - case["ignored_share"]) * case["vocabulary"]
        otr, bare = (case["heads"][name]["median_seconds"] for name in ("OTR", "gemms"))
        seconds.append((otr - bare) / logits)
    assert HEAD_SECONDS_PER_LOGIT.value == pytest.approx(median(seconds), rel=0.01)


def test_a_probe_measures_and_says_so() -> None:
    found = probed()
    assert found.layer_flops.value > 1e8 and found.bytes_per_second.value > 1e7
    assert found.layer_flops.kind == "measured" and "512 x 1024 x 1024" in found.layer_flops.source
