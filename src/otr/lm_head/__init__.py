"""The language-model head: losses of every objective, by interchangeable backends."""

from otr.lm_head.arguments import check_compaction
from otr.lm_head.call import IGNORED, PER_TOKEN, HeadOutput
from otr.lm_head.head import BACKENDS, linear_loss, logits_loss
from otr.lm_head.passes import LogitTransform

__all__ = [
    "BACKENDS",
    "IGNORED",
    "PER_TOKEN",
    "HeadOutput",
    "LogitTransform",
    "check_compaction",
    "linear_loss",
    "logits_loss",
]
