"""The auxiliary loss of a mixture's router, which a model makes by itself."""

import warnings
from typing import Any

from torch import Tensor, nn

_NAME = "router_aux_loss_coef"


def makes_router_loss(outputs: Any) -> bool:
    """Whether a model's outputs hold the loss of a router."""
    return isinstance(getattr(outputs, "aux_loss", None), Tensor)


def router_coefficient(model: nn.Module) -> float | None:
    """The weight of the router's loss in the model's own loss, as it is now; None if the model
    names none."""
    own = getattr(model, _NAME, None)
    if own is None:
        config: Any = getattr(model, "config", None)
        own = None if config is None else getattr(config.get_text_config(), _NAME, None)
    return None if own is None else float(own)


def agreed_coefficient(model: nn.Module) -> None:
    """Let the configuration say what the model itself does of the router's loss, where somebody has
    changed one of them; TRL reads the configuration, the model's own loss does not."""
    own = getattr(model, _NAME, None)
    config: Any = getattr(model, "config", None)
    written = None if config is None else getattr(config.get_text_config(), _NAME, None)
    if own is None or written is None or own == written:
        return
    warnings.warn(
        f"the model's own router_aux_loss_coef is {own:g} and its configuration's {written:g}; the "
        "model's is used. router_aux_loss_coef among the arguments decides otherwise",
        stacklevel=3,
    )
    set_router_coefficient(model, own)


def set_router_coefficient(model: nn.Module, coefficient: float) -> None:
    """Give the router's loss a weight, in the model and in its configuration, where they name one."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    config: Any = getattr(base, "config", None)
    for owner in (base, None if config is None else config.get_text_config()):
        if hasattr(owner, _NAME):
            setattr(owner, _NAME, coefficient)


def unnamed_coefficient(model: object, way_out: str) -> ValueError:
    """The refusal of a model whose router's loss would not be trained."""
    return ValueError(
        f"{type(model).__name__} is configured to return its router's loss, with a coefficient that "
        f"is not called router_aux_loss_coef, so it would not be trained; set {way_out}"
    )
