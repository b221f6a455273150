"""The objectives in axolotl: a plugin for its own trainer and configuration.

plugins: [otr.integrations.axolotl.ObjectivePlugin]
objective: {name: otr, num_rollouts: 256}
"""

from typing import Any

from axolotl.integrations.base import BasePlugin  # type: ignore[import-not-found]
from pydantic import BaseModel, field_validator

from otr.integrations.fused_model import with_fused_head
from otr.integrations.trainer_loss import FollowTrainer
from otr.objectives import Objective, objective_from_options


class ObjectiveArgs(BaseModel):
    """What the plugin adds to axolotl's configuration."""

    objective: dict[str, Any] | None = None
    """As in a run file of otr: a name and that objective's options; OTR's defaults unless given."""

    @field_validator("objective")
    @classmethod
    def _known(cls, options: dict[str, Any] | None) -> dict[str, Any] | None:
        _objective(options)
        return options


class ObjectivePlugin(BasePlugin):
    """Trains axolotl's model with an objective, in a fused head.

    The rollouts follow from the configuration's `seed`. Evaluation reports the model's own loss,
    the negative log-likelihood.
    """

    def get_input_args(self) -> str:
        """The name of the class of the plugin's settings."""
        return "otr.integrations.axolotl.ObjectiveArgs"

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """Put the fused head on, adapter and all.

        Raises: ValueError where the model or a setting cannot work, with what to change.
        """
        for setting in ("label_smoothing_factor", "orpo_alpha", "chunked_cross_entropy"):
            if cfg.get(setting):
                raise ValueError(f"{setting} would be a second objective; leave it out")
        options = cfg.get("objective")
        objective = _objective(None if options is None else dict(options))
        seed = cfg.get("seed")
        with_fused_head(model, objective, seed=42 if seed is None else seed)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The callback that tells the head the step."""
        return [FollowTrainer()]


def _objective(options: dict[str, Any] | None) -> Objective:
    return objective_from_options({"name": "otr"} if options is None else options)
