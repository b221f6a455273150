"""One case, in a process of its own or in two: trained, measured and predicted."""

import json
import os
import resource
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
import torch.distributed as dist
from datasets import Dataset
from peft import LoraConfig
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from trl.trainer.sft_config import SFTConfig

from benchmarks.scaling.cases import ScalingCase
from otr import OTR, OTRTrainer
from otr.pretrained import load_tokenizer
from otr.training.hardware import Figure, Network, probed
from otr.training.setting import Engine, Setting
from otr.training.shape import shape_of
from otr.training.step_memory import memory_of
from otr.training.step_time import network_bytes, time_of

_STEPS, _WARM_STEPS = 3, 1
_PROBED_NUMBERS = 1 << 22


class _Meter(TrainerCallback):
    """Seconds of each step, of the wall's clock and of the processor, and bytes sent."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []
        self.bucket_bytes = 0
        self.sent_bytes: list[int] = []
        self._start = (0.0, 0.0, 0)
        self.trainer: Any = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._start = (time.perf_counter(), _user_seconds(), _sent_bytes())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        wall, processor, sent = self._start
        self.seconds.append(time.perf_counter() - wall)
        self.processor_seconds.append(_user_seconds() - processor)
        self.sent_bytes.append(_sent_bytes() - sent)

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        # Accelerate has wrapped the model by now; where it has not, there is nothing to count.
        wrapped = self.trainer.model_wrapped
        if hasattr(wrapped, "register_comm_hook"):
            wrapped.register_comm_hook(None, self._counted)

    def _counted(
        self,
        _: Any,
        bucket: dist.GradBucket,  # type: ignore[reportPrivateImportUsage]
    ) -> torch.futures.Future[torch.Tensor]:
        self.bucket_bytes += bucket.buffer().nbytes
        return allreduce_hook(dist.group.WORLD, bucket)  # type: ignore[arg-type]


def work(case: ScalingCase, folder: Path) -> None:
    """Train a few steps, and write what was measured beside what the model says."""
    torch.set_num_threads(1)
    process_bytes = psutil.Process().memory_info().rss
    meter = _Meter()
    trainer = OTRTrainer(
        model=_model(case),
        args=_arguments(case, folder),
        train_dataset=_rows(case),
        processing_class=load_tokenizer("demo"),
        objective=OTR(),
        callbacks=[meter],
        peft_config=_lora(case),
    )
    meter.trainer = trainer
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Afterwards, since what is tried takes memory, too.
    processor, again = (probed(clock=time.process_time) for _ in range(2))
    network = _network() if case.num_processes > 1 else None
    shape = shape_of(trainer.accelerator.unwrap_model(trainer.model))
    setting = setting_of(case)
    predicted = [time_of(shape, setting, each, network) for each in (processor, again)]
    steps = len(meter.seconds)
    found = {
        "case": asdict(case),
        "num_params": shape.num_params,
        "num_trained": shape.num_trained,
        "probe": {
            "flops": [each.layer_flops.value for each in (processor, again)],
            "bytes_per_second": [each.bytes_per_second.value for each in (processor, again)],
            "network_bytes_per_second": network and network.in_machine.value,
        },
        "measured": {
            "process_bytes": process_bytes,
            "peak_bytes": peak,
            "load": os.getloadavg()[0],
            "seconds": meter.seconds[_WARM_STEPS:],
            "processor_seconds": meter.processor_seconds[_WARM_STEPS:],
            "gradient_bytes_sent": meter.bucket_bytes // steps,
            "bytes_on_the_wire": median(meter.sent_bytes[_WARM_STEPS:]) / case.num_processes,
        },
        "predicted": {
            "memory": asdict(memory_of(shape, setting)),
            "seconds": [asdict(each) for each in predicted],
            "network_bytes": network_bytes(shape, setting),
        },
    }
    if os.environ.get("RANK", "0") == "0":
        (folder / "found.json").write_text(json.dumps(found))


def setting_of(case: ScalingCase) -> Setting:
    """The case as plans take it."""
    return Setting(
        engine=Engine.DDP if case.num_processes > 1 else Engine.ONE,
        num_gpus=case.num_processes,
        rows=case.rows,
        length=case.length,
        supervised_share=case.supervised_share,
        accumulation=case.accumulation,
        is_checkpointed=case.is_checkpointed,
        compute="float32",
        device="cpu",
    )


def _network() -> Network:
    """The rate of gloo's all-reduce of 16 MiB between these processes, just now."""
    numbers = torch.ones(_PROBED_NUMBERS)
    taken = []
    for _ in range(6):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(numbers)
        taken.append(time.perf_counter() - start)
    # Of two processes, each sends as much as it holds.
    rate = Figure(
        value=numbers.nbytes / median(taken[1:]), unit="B/s", kind="measured", source="just now"
    )
    whole = Figure(value=1.0, unit="share", kind="measured", source="the rate is the collective's")
    return Network(in_machine=rate, between_machines=rate, reached=whole)


def _user_seconds() -> float:
    """Of the processor, without what the system takes for giving and taking memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def _sent_bytes() -> int:
    """Bytes that this network's loopback has sent."""
    for line in Path("/proc/self/net/dev").read_text("utf-8").splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    return 0


def _model(case: ScalingCase) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=case.vocabulary,
            hidden_size=case.width,
            intermediate_size=4 * case.width,
            num_hidden_layers=case.num_layers,
            num_attention_heads=case.width // 64,
            num_key_value_heads=case.width // 128,
            max_position_embeddings=case.length,
            tie_word_embeddings=True,
        )
    )


def _rows(case: ScalingCase) -> Any:
    generator = torch.Generator().manual_seed(0)
    count = case.rows * case.num_processes * case.accumulation
    ids = torch.randint(case.vocabulary, (count, case.length), generator=generator)
    labels = ids.clone()
    labels[:, : round((1 - case.supervised_share) * case.length)] = -100
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist()})


def _lora(case: ScalingCase) -> Any:
    if case.lora_rank is None:
        return None
    return LoraConfig(r=case.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")


def _arguments(case: ScalingCase, folder: Path) -> Any:
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=case.rows,
        gradient_accumulation_steps=case.accumulation,
        gradient_checkpointing=case.is_checkpointed,
        max_steps=_STEPS,
        max_length=None,
        learning_rate=1e-5,
        report_to="none",
        save_strategy="no",
        bf16=False,
        use_cpu=True,
        ddp_backend="gloo" if case.num_processes > 1 else None,
        disable_tqdm=True,
    )
