"""Blocks of code in documents, and what the comment before each says is to be done with it."""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>run|run: long|output|file: [\w./-]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. `<!-- run -->` before it has it run, `<!-- run: long -->` only by `make
    docs-check`; `<!-- file: NAME -->` has it written to a file for those that follow, and
    `<!-- output -->` compares it with what the one before printed."""

    document: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def is_run(self) -> bool:
        """Whether it is a command that a check runs."""
        return self.mark.startswith("run")

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else None

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.document.name}, line {self.line}"


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(
            document=document,
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            text=re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
            mark=match["mark"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]
