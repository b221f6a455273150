"""The text of single tokens, as they stand inside a text."""

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from otr.terminal import visible


class Words:
    """The text of single tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def shown(self, word: int) -> str:
        r"""Safe to print; pieces of a character as bytes like \xf0."""
        return visible(self._text(word))

    def ends_line(self, word: int) -> bool:
        """Whether it ends with a line break."""
        return self._text(word).endswith("\n")

    def _text(self, word: int) -> str:
        if word not in self._texts:
            self._texts[word] = word_text(self._tokenizer, word)
        return self._texts[word]


def word_text(tokenizer: PreTrainedTokenizerBase, word: int) -> str:
    """The text of one token, with the blank in front that it has inside a text.

    Bytes that are no whole character are written out, and so is an id that is no token.
    """
    piece = tokenizer.convert_ids_to_tokens(word)
    if not isinstance(piece, str):
        return f"<{word}>"
    text = str(tokenizer.decode([word], clean_up_tokenization_spaces=False))
    if "\ufffd" in text:
        if len(piece) == 6 and piece.startswith("<0x"):
            return f"\\x{piece[3:5].lower()}"
        byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
        if all(letter in byte_of for letter in piece):
            return bytes(byte_of[letter] for letter in piece).decode("utf-8", "backslashreplace")
    # SentencePiece drops it where a text begins.
    if piece.startswith("\u2581") and not text.startswith(" "):
        return f" {text}"
    return text or piece
