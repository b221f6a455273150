"""Fine-tune causal language models with One-Token Rollout (arXiv:2509.26313)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otr.integrations.fused_model import with_fused_head, without_fused_head
    from otr.integrations.trainer_loss import objective_loss_func
    from otr.lm_head import HeadOutput, linear_loss, logits_loss
    from otr.objectives import DFT, OTR, SFT
    from otr.training.trainer import OTRTrainer

__version__ = "0.1.0"

_HOMES = {
    "DFT": "otr.objectives",
    "OTR": "otr.objectives",
    "SFT": "otr.objectives",
    "HeadOutput": "otr.lm_head",
    "linear_loss": "otr.lm_head",
    "logits_loss": "otr.lm_head",
    "OTRTrainer": "otr.training.trainer",
    "objective_loss_func": "otr.integrations.trainer_loss",
    "with_fused_head": "otr.integrations.fused_model",
    "without_fused_head": "otr.integrations.fused_model",
}

__all__ = [
    "DFT",
    "OTR",
    "SFT",
    "HeadOutput",
    "OTRTrainer",
    "linear_loss",
    "logits_loss",
    "objective_loss_func",
    "with_fused_head",
    "without_fused_head",
]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: `import otr` alone loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'otr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
