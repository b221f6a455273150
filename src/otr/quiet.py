"""Other libraries' messages, kept out of the way of ours, and theirs to their makers not sent."""

import os
import warnings

_NO_REPORTS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
}
"""TRL reports each trainer that is made, and datasets counts what is loaded, unless told not to."""


def quiet_libraries() -> None:
    """Show only errors of transformers, datasets, TRL and the hub client, no warnings, and have
    none of them report what they are used for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Read when the libraries are loaded, also by the processes that are started from this one.
    for variable, value in _NO_REPORTS.items():
        os.environ[variable] = value
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    warnings.simplefilter("ignore")

    import datasets
    import datasets.config
    import huggingface_hub
    import transformers

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    # It announces each of its attempts to reach a hub; the error at the end says it once.
    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
