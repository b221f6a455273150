"""The chunked head with its passes as Triton kernels: the fastest on a GPU.

Shapes: T tokens, D width, V vocabulary.
"""

from torch import Tensor

from otr.lm_head import chunked, triton_passes
from otr.lm_head.call import Call, HeadOutput


def linear_head(
    hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, call: Call
) -> HeadOutput:
    """The loss of hidden states under a head's weight; see `otr.linear_loss`."""
    return chunked.linear_head(hidden_TD, weight_VD, bias_V, call, triton_passes)


def logits_head(logits_TV: Tensor, call: Call) -> HeadOutput:
    """The loss of raw logits; see `otr.logits_loss`."""
    return chunked.logits_head(logits_TV, call, triton_passes)
