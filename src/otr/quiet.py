"""Other libraries' messages, kept out of the way of ours."""

import os
import warnings


def quiet_libraries() -> None:
    """Show only errors of transformers, datasets, TRL and the hub client, and no warnings."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    warnings.simplefilter("ignore")

    import datasets
    import huggingface_hub
    import transformers

    # It announces each of its attempts to reach a hub; the error at the end says it once.
    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
