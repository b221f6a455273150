"""A model under evaluation: what its answers depend on, and where they go."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from otr.errors import UserError
from otr.evaluation.engines import precision
from otr.evaluation.identity import digest
from otr.evaluation.processes import Processes
from otr.evaluation.prompts import Prompts
from otr.evaluation.written import SETTINGS


@dataclass(frozen=True, kw_only=True)
class Options:
    """How answers are made."""

    samples: int
    temperature: float
    seed: int
    limit: int | None
    engine: str
    prompt: str

    def check(self) -> None:
        """Raise UserError if the sampling cannot be."""
        if self.samples < 1:
            raise UserError(f"samples: must be at least 1, is {self.samples}")
        if not 0 <= self.temperature <= 100:
            raise UserError(f"temperature: must be 0 (greedy) or above, is {self.temperature}")
        if self.samples > 1 and self.temperature == 0:
            raise UserError(
                f"samples: {self.samples} greedy answers would all be the same; "
                "give a temperature above 0, for example 0.6"
            )


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A model that is evaluated, and how."""

    name: str
    """As the user wrote it."""

    location: str
    digest: str
    folder: Path | None
    """Where scores and answers go, if anywhere."""

    options: Options
    prompts: Prompts
    processes: Processes

    def settings(self, content: str) -> dict[str, Any]:
        """What the answers to some questions depend on; `content` is the questions' digest."""
        dtype = str(precision(self.processes.device)).removeprefix("torch.")
        return {"model": self.digest, **asdict(self.options), "dtype": dtype, "content": content}

    def entry_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The same as fields of scores.json."""
        return {
            "model": self.name,
            **asdict(self.options),
            "model_sha256": self.digest,
            SETTINGS: digest(settings),
        }
