"""What of a conversation a chat template does not render."""

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from otr.errors import UserError
from otr.training.chat_template import rendered
from otr.training.conversation import Conversation
from otr.training.rendering import contains
from otr.training.turns import Message

_THINK = re.compile(r"</?think(?:ing)?>")


def check_answer(
    conversation: Conversation, i: int, learned: str, verb: str = "render"
) -> set[str]:
    """Check that the learned text holds message i; `reasoning` if that part of it is left out.

    Raises: UserError naming row and message if the answer or the call of a tool is not there.
    """
    message: Message = conversation.messages[i]
    # The template may move reasoning written in the content; what follows it is the answer.
    *thoughts, answer = _THINK.split(message["content"])
    names: list[Any] = [call["function"]["name"] for call in message.get("tool_calls", ())]
    for part in filter(None, (answer, *names)):
        if not contains(learned, part):
            what = "call of the tool" if part in names else "answer"
            raise UserError(
                f"{conversation.origin}, message {i + 1}: the chat template does not {verb} "
                f"the {what} {part.strip()[:60]!r}, so it would not be learned\nChoose another "
                "template with training.chat_template_path, or change the row."
            )
    reasoning = (*thoughts, message.get("reasoning_content", ""))
    is_there = all(contains(learned, part) for part in reasoning if part.strip())
    return set() if is_there else {"reasoning"}


def left_out_of(
    conversation: Conversation, last: int, text: str, tokenizer: PreTrainedTokenizerBase
) -> set[str]:
    """Of tools and messages, what a text up to message `last` does not have."""
    names = [tool["function"].get("name", "") for tool in conversation.tools]
    context = [m["content"] for m in conversation.messages[:last] if m["role"] != "assistant"]
    left_out = set()
    if not all(contains(text, str(name)) for name in names):
        left_out.add("tools")
    elif names:
        # Calls hold a tool's name too.
        with suppress(UserError):
            without = rendered(replace(conversation, tools=()), last + 1, tokenizer)
            left_out |= {"tools"} if without == text else set()
    if not all(contains(text, content) for content in context):
        left_out.add("messages")
    return left_out
