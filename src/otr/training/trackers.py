"""Where trackers of experiments that a run reports to keep their files: in the run's folder."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers.integrations.integration_utils import get_available_reporting_integrations

from otr import runs
from otr.errors import UserError

_PACKAGES = ("tensorboard", "wandb", "trackio", "mlflow")


def check_trackers(names: Sequence[str]) -> None:
    """Raises: UserError if a tracker's package is not installed."""
    missing = sorted(
        set(names) & set(_PACKAGES) - set(get_available_reporting_integrations()),
    )
    if missing:
        raise UserError(
            f"training.report_to: {missing[0]} is not installed; pip install {missing[0]}, or leave "
            f"it out: {runs.METRICS} has the same figures"
        )


@contextmanager
def local_trackers(names: Sequence[str], folder: Path) -> Iterator[None]:
    """While open, the trackers write into the run's folder, and to no server.

    They are told by their own environment variables, and where the user has set one of these, it
    stays: `WANDB_MODE=online` sends a run to W&B's server, `MLFLOW_TRACKING_URI` to one of MLflow's,
    and `training.trackio_space_id` to a space of the hub.
    """
    own = (folder / runs.TRACKERS).absolute()
    wanted = {
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(own / "tensorboard")},
        "wandb": {"WANDB_MODE": "offline", "WANDB_DIR": str(own)},
        "trackio": {"TRACKIO_DIR": str(own / "trackio")},
        "mlflow": {"MLFLOW_TRACKING_URI": f"sqlite:///{own / 'mlflow.db'}"},
    }
    made = {
        variable: value
        for name in names
        for variable, value in wanted.get(name, {}).items()
        if variable not in os.environ
    }
    os.environ.update(made)
    try:
        yield
    finally:
        for variable in made:
            os.environ.pop(variable, None)
