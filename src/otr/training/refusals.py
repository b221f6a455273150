"""Settings that cannot go with an objective."""

from typing import Any

import torch
from trl.trainer.sft_config import SFTConfig

from otr.training.packing import check_packing

_LIKELIHOODS = ("nll", "chunked_nll")
"""TRL's default loss in its newer and older releases, which the objective replaces."""


def check_settings(config: Any, keywords: dict[str, Any]) -> None:
    """Raise ValueError, with what to change, if a trainer's configuration or keywords cannot go with
    an objective."""
    if isinstance(config, SFTConfig) and config.loss_type not in _LIKELIHOODS:
        raise ValueError(
            f"loss_type={config.loss_type!r} would be a second objective; leave it out and "
            f"pass objective=DFT() for DFT"
        )
    if config is not None and config.label_smoothing_factor > 0:
        raise ValueError(
            f"label_smoothing_factor={config.label_smoothing_factor} would be a second "
            "objective; set it to 0 and pass "
            f"objective=LabelSmoothing(epsilon={config.label_smoothing_factor}) of otr.objectives"
        )
    if keywords.get("compute_loss_func") is not None:
        raise ValueError(
            "compute_loss_func would be a second objective; leave it out and pass objective=…, or "
            "use SFTTrainer"
        )
    metric = getattr(config, "metric_for_best_model", None) or ""
    if config is not None and config.greater_is_better and metric.endswith("nll"):
        raise ValueError(
            "greater_is_better=True, which TrainingArguments takes by default, would keep the model "
            f"with the highest {metric}; set it to False"
        )
    if isinstance(config, SFTConfig):
        check_packing(config)
        if config.activation_offloading and not torch.accelerator.is_available():
            raise ValueError(
                "activation_offloading=True moves activations from an accelerator to the CPU, and "
                "there is no accelerator; leave it out"
            )
    parallelism = getattr(config, "parallelism_config", None)
    if parallelism is not None and (parallelism.sp_enabled or parallelism.cp_enabled):
        raise ValueError(
            "context and sequence parallelism split a sequence before its rollouts can be "
            "drawn; use data parallelism (DDP, FSDP) instead"
        )
