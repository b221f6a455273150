"""The auxiliary loss of a mixture's router, which a model makes by itself."""

from typing import Any

from torch import Tensor


def makes_router_loss(outputs: Any) -> bool:
    """Whether a model's outputs hold the loss of a router."""
    return isinstance(getattr(outputs, "aux_loss", None), Tensor)


def unnamed_coefficient(model: object, way_out: str) -> ValueError:
    """The refusal of a model whose router's loss would not be trained."""
    return ValueError(
        f"{type(model).__name__} is configured to return its router's loss, with a coefficient that "
        f"is not called router_aux_loss_coef, so it would not be trained; set {way_out}"
    )
