"""A tokenizer's chat template, as a function from messages to text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.training.conversation import Conversation


def template_source(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> str:
    """The template that a conversation is rendered by, which may hang on its tools.

    Raises: UserError if there is none.
    """
    try:
        return tokenizer.get_chat_template(None, list(conversation.tools) or None)
    except ValueError:
        raise UserError(
            "model: its tokenizer has no chat template, which conversations need\n"
            "Choose a chat model, set training.chat_template_path to a template, or use "
            "data.prompt and data.completion."
        ) from None


def rendered(
    conversation: Conversation,
    num_messages: int,
    tokenizer: PreTrainedTokenizerBase,
    add_generation_prompt: bool = False,
) -> str:
    """The first messages of a conversation as text.

    Raises: UserError naming the row if the template cannot render it.
    """
    try:
        text = tokenizer.apply_chat_template(
            list(conversation.messages[:num_messages]),
            tools=list(conversation.tools) or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **conversation.variables,
        )
    except Exception as error:
        raise refusal(conversation, error) from error
    return encodable(str(text), conversation)


def refusal(conversation: Conversation, error: Exception) -> UserError:
    """What to say of a conversation that a template does not take."""
    # A template is a program: besides TemplateError it can raise whatever its expressions do.
    roles = ", ".join(message["role"] for message in conversation.messages[:8])
    return UserError(
        f"{conversation.origin}: the chat template cannot render this conversation: "
        f"{str(error) or type(error).__name__}\nIts roles: {roles}; change the row, or choose a "
        "template that takes it with training.chat_template_path."
    )


def encodable(text: str, conversation: Conversation) -> str:
    """The text itself. Raises: UserError naming the row if it has half of a surrogate pair."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{conversation.origin}: holds half of a surrogate pair, which no tokenizer can "
                "encode; correct or remove the row"
            ) from None
    return text


def end_of(text: str, stop: int, special: Sequence[str]) -> tuple[int, str]:
    """Where a turn that stops at most at `stop` ends, and the special token that ends it."""
    stripped = text[:stop].rstrip()
    token = max((word for word in special if stripped.endswith(word)), key=len, default="")
    return len(stripped), token
