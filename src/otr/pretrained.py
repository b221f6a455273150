"""Loading a model and its tokenizer: a hub id, a folder, or an embedded base model."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from otr.demo import base_model_folder
from otr.errors import UserError
from otr.runs import read_json


def model_location(name: str) -> str:
    """Where a model lies: the package's own folder for `demo…`, a folder or hub id as it is.

    Raises: UserError if it looks like a folder and is not one, or lacks its config.json.
    """
    embedded = base_model_folder(name)
    if embedded is not None:
        return str(embedded)
    folder = Path(name).expanduser()
    if folder.is_dir():
        # An adapter's folder names its base model in a config of its own.
        for config in (folder / "config.json", folder / "adapter_config.json"):
            if config.is_file():
                read_json(config)
                return str(folder)
        raise UserError(f"model: the folder {name!r} has no config.json, so it is not a model")
    if folder.exists():
        raise UserError(f"model: {name!r} is a file; give the folder that holds config.json")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model: there is no folder {name!r}")
    return name


def load_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerBase:
    """A model's tokenizer.

    Raises: UserError if it cannot be found or read.
    """
    return _load(AutoTokenizer.from_pretrained, "tokenizer of model", name, **options)


def load_model(name: str, **options: Any) -> PreTrainedModel:
    """A causal language model with its weights; float32 unless `dtype` says otherwise.

    Raises: UserError if it cannot be found or read, or if weights are missing.
    """
    options.setdefault("dtype", torch.float32)
    model, report = _load(
        AutoModelForCausalLM.from_pretrained, "model", name, output_loading_info=True, **options
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(
            f"model: {name} lacks {len(missing)} weights (first: {missing[0]}), which would be "
            "left random; it is not a complete causal language model"
        )
    return model


def _load(load: Any, what: str, name: str, **options: Any) -> Any:
    location = model_location(name)
    try:
        return load(location, **options)
    except UserError:
        raise
    except Exception as error:
        # transformers, safetensors and the hub client each raise their own kinds here.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        way_out = (
            "Give a folder saved with save_pretrained, a hub id that this machine can reach, "
            "or `demo` for the embedded model."
        )
        if "trust_remote_code" in str(error):
            way_out = (
                "It brings code of its own, which is not run unless you trust it: "
                "training.trust_remote_code=true"
            )
        raise UserError(f"{what}: cannot load {name!r}: {reason[0][:300]}\n{way_out}") from error
