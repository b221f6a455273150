"""Loading a model and its tokenizer: a hub id, a folder, or an embedded base model.

A model's files are a stranger's: what they name beyond their own folder, or bring of code, is refused
unless `trust_remote_code` is given.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from otr.demo import BASES, base_model_folder
from otr.errors import UserError, first_line, suggestion
from otr.extras import install_words
from otr.runs import CONFIG, ENVIRONMENT, MODEL, RESULTS, STUDY, read_as
from otr.terminal import visible

_CONFIG = "config.json"
_ADAPTER_CONFIG = "adapter_config.json"
_GENERATION_CONFIG = "generation_config.json"

_NOT_FROM_STRANGERS = ("megatron_config", "tokenizer_kwargs")
"""Fields of adapter_config.json that have a module imported, or say how to load yet another model.
`auto_mapping`, which names a module too, is usual there and not read when an adapter is loaded."""


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
        for config in (folder / _CONFIG, folder / _ADAPTER_CONFIG):
            if config.is_file():
                read_as(config, dict[str, Any])
                return str(folder)
        raise UserError(f"model: the folder {name!r} {_why_no_model(folder)}")
    if folder.exists():
        raise UserError(f"model: {name!r} is a file; give the folder that holds config.json")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model: there is no folder {name!r}")
    return name


def adapter_base(name: str) -> str | None:
    """Where the base model of an adapter's folder lies; None if the folder or hub id is a model.

    Raises: UserError if the adapter's config would import something, or names no model.
    """
    path = Path(model_location(name)) / _ADAPTER_CONFIG
    return _base_of(path) if path.is_file() else None


def load_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerBase:
    """A model's tokenizer.

    Raises: UserError if it cannot be found or read.
    """
    return _load(AutoTokenizer.from_pretrained, "tokenizer of model", name, **options)


def load_model(name: str, **options: Any) -> PreTrainedModel:
    """A causal language model with its weights; float32 unless `dtype` says otherwise.

    Raises: UserError if it cannot be found or read, or if weights are missing.
    """
    # The older name, which transformers takes only if the newer one is not given.
    older = options.pop("torch_dtype", None)
    if older is not None and options.setdefault("dtype", older) != older:
        raise UserError(
            f"model_init_kwargs: dtype is {options['dtype']} and torch_dtype, its older name, is "
            f"{older}; give dtype alone"
        )
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
    folder = Path(model_location(name))
    if (folder / _ADAPTER_CONFIG).is_file() and (folder / _GENERATION_CONFIG).is_file():
        # An adapter's generation ends where it learned to; transformers reads its base model's.
        model.generation_config = GenerationConfig.from_pretrained(str(folder))
    return model


def special_texts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The texts of the special tokens, such as those that end a turn."""
    added = tokenizer.added_tokens_decoder.values()
    texts = [token.content for token in added if token.special] + list(tokenizer.all_special_tokens)
    return tuple(dict.fromkeys(texts))


def check_vocabulary(model: PreTrainedModel, largest: int) -> None:
    """Raise UserError if the model has no embedding for the largest of some tokens."""
    embeddings: Any = model.get_input_embeddings()
    num_words = embeddings.weight.shape[0]
    if largest >= num_words:
        raise UserError(
            f"model: its tokenizer makes token {largest}, but the model knows only {num_words}; "
            "tokenizer and weights do not belong together"
        )


def _load(load: Any, what: str, name: str, **options: Any) -> Any:
    # Left open, transformers asks at the keyboard whether to run a model's code.
    options.setdefault("trust_remote_code", False)
    location = model_location(name)
    is_folder, unreachable = Path(location).is_dir(), None
    if is_folder:
        if not options["trust_remote_code"]:
            _check_files(Path(location))
    elif unreachable := unreachable_hub(location):
        # Only what was downloaded before; else each of its files is tried for half a minute.
        options["local_files_only"] = True
    try:
        return load(location, **options)
    except UserError:
        raise
    except Exception as error:
        # transformers, safetensors and the hub client each raise their own kinds here.
        if (kind := _other_kind(location, error)) is not None:
            raise UserError(f"{what}: {name!r} {kind}; otr trains causal language models") from None
        said, near = first_line(error), suggestion(name, BASES).rstrip("?")
        if not is_folder:
            said = f"there is no such folder{near}; and as a hub id: {said}"
        if unreachable and isinstance(error, OSError):
            said = (
                f"there is no such folder{near}; it was not downloaded before, and "
                f"the hub cannot be reached: {unreachable}"
            )
        raise UserError(f"{what}: cannot load {name!r}: {said}\n{_way_out(error)}") from error


def _other_kind(location: str, error: Exception) -> str | None:
    """What a model that transformers knows is instead of a causal language model; None if its kind
    is not what kept it from being loaded."""
    if "Unrecognized configuration class" not in str(error):
        return None
    config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    if config.is_encoder_decoder:
        return f"is an encoder-decoder ({config.model_type})"
    return f"is of the type {config.model_type}, which has no causal language model"


def _way_out(error: Exception) -> str:
    """What to do about a model that cannot be loaded."""
    said = str(error)
    if "trust_remote_code" in said:
        return (
            "It brings code of its own, which is not run unless you trust it: "
            "training.trust_remote_code=true"
        )
    if "unexpected keyword argument" in said or "module 'torch' has no attribute" in said:
        return (
            "Correct training.model_init_kwargs, which takes what from_pretrained does, such as "
            "dtype: bfloat16."
        )
    if "FlashAttention" in said:
        return (
            "`pip install flash-attn` brings FlashAttention 2, which needs a GPU; or leave out "
            "attn_implementation."
        )
    if isinstance(error, ImportError):
        brings = f"`{install_words('quantized')}` brings bitsandbytes"
        return f"Install that package{f'; {brings}' if 'bitsandbytes' in said else ''}."
    return (
        "Give a folder saved with save_pretrained, a hub id that this machine can reach, or `demo` "
        "for the embedded model."
    )


@cache
def unreachable_hub(name: str) -> str | None:
    """Why the hub does not answer for a model's name, from one request; None if it answers, also
    with a no."""
    try:
        get_hf_file_metadata(hf_hub_url(name, _CONFIG))
    except (HfHubHTTPError, ValueError):
        # A no, or a name that no hub has: its client finds the words.
        return None
    except Exception as error:
        # The hub client's releases raise different libraries' kinds for a network that is not there.
        return visible(first_line(error))
    return None


def _why_no_model(folder: Path) -> str:
    inside = sorted(path.parent.name for path in folder.glob(f"*/{MODEL}/"))
    # A project's folder may hold a study file of that name too.
    is_begun = (folder / RESULTS).is_file() or any(folder.glob(f"*/{ENVIRONMENT}"))
    if (folder / STUDY).is_file() and (inside or is_begun):
        return "is a study's; name one of its runs" + (f", such as {inside[0]!r}" if inside else "")
    if (folder / CONFIG).is_file():
        return f"is a run's without {MODEL}/: finish it with `otr train`, or name another"
    return "has no config.json, so it is not a model"


def _check_files(folder: Path) -> None:
    """Raise UserError where a model's files name what lies outside, or what would bring code."""
    if (folder / _ADAPTER_CONFIG).is_file():
        base = Path(_base_of(folder / _ADAPTER_CONFIG))
        if base.is_dir():
            _check_model(base)
    _check_model(folder)


def _check_model(folder: Path) -> None:
    for path in sorted(folder.glob("*.index.json")):
        shards = read_as(path, dict[str, Any]).get("weight_map")
        for shard in shards.values() if isinstance(shards, dict) else ():
            if not isinstance(shard, str) or Path(shard).name != shard:
                raise UserError(f"{path}: weight_map: {shard!r} is not a file of its folder")
    config = read_as(folder / _CONFIG, dict[str, Any]) if (folder / _CONFIG).is_file() else {}
    for key in ("attn_implementation", "_attn_implementation"):
        if "/" in str(config.get(key, "")):
            raise UserError(
                f"{folder / _CONFIG}: {key}: {config[key]!r} is a program from the hub, which is not "
                "run unless you trust it: training.trust_remote_code=true"
            )


def _base_of(path: Path) -> str:
    """Where the base model of an adapter lies.

    Raises: UserError if the adapter's config would import something, or names no model.
    """
    config = read_as(path, dict[str, Any])
    for key in _NOT_FROM_STRANGERS:
        if config.get(key):
            raise UserError(
                f"{path}: {key}: {config[key]!r} would import or run code, which is not done unless "
                "you trust it: training.trust_remote_code=true; else set it to null"
            )
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"{path}: base_model_name_or_path: names no model, found {base!r}")
    return model_location(base)
