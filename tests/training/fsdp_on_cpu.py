"""FSDP2 among processes that have no accelerator, which PyTorch can and accelerate leaves out."""

from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType


def shard_on_cpu() -> None:
    """Have accelerate take FSDP's settings on a CPU as on a GPU, rather than to pass them over."""
    usual = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        usual(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        # A later call shares the state, and takes its kind from the processes again.
        fsdp_plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = init  # type: ignore[method-assign]
