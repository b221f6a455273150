"""A model that has learned to end its answers with a token is to stop at it in generation."""

from collections.abc import Iterable

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def stop_at(
    model: PreTrainedModel, end_tokens: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Add tokens to those that end the model's generation, which are saved with it.

    A base model's own are those of plain text; a chat template's turns end with others.
    """
    config = model.generation_config
    if config is None:
        return
    own = config.eos_token_id
    known = [own] if isinstance(own, int) else list(own or ())
    learned = [tokenizer.convert_tokens_to_ids(token) for token in end_tokens]
    added = [token for token in learned if token not in known]
    if added:
        config.eos_token_id = known + added
