"""A model's generation settings as transformers agrees to save them."""

import copy

from transformers import GenerationConfig, PreTrainedModel


def made_savable(model: PreTrainedModel) -> str:
    """Take out of a model's generation settings what transformers refuses to save.

    It only warns of such settings as long as nothing of them changes. A trained model's do: what it
    stops at and pads with is added. Each is one that has no effect where it stands, such as a
    temperature without `do_sample`, or one that no generation can be run with.

    Returns: what was taken out, in words; nothing if all can be saved.

    Raises: ValueError if what is left cannot be saved either.
    """
    config = getattr(model, "generation_config", None)
    if config is None or not (problem := _problem(config)):
        return ""
    default = type(config)()
    removed = []
    for name, value in sorted(config.to_diff_dict().items()):
        trial = copy.deepcopy(config)
        setattr(trial, name, getattr(default, name, None))
        if (left := _problem(trial)) != problem:
            setattr(config, name, getattr(default, name, None))
            removed.append(f"{name}={value!r}")
            problem = left
        if not problem:
            break
    if problem:
        raise ValueError(
            f"model: its generation_config.json cannot be saved with the trained model: {problem}; "
            "correct the file, or remove it"
        )
    return (
        f"of the model's generation settings, {', '.join(removed)} cannot be used as they stand, and "
        "transformers refuses to save them; the trained model leaves them out (do_sample: true in "
        "generation_config.json keeps settings of sampling)"
    )


def _problem(config: GenerationConfig) -> str:
    """Why generation settings cannot be saved; nothing if they can."""
    try:
        config.validate(strict=True)
    except ValueError as error:
        return str(error)
    return ""
