"""The table of recipes/README.md: what each recipe is, what it needs by the model of a step in
`otr.training`, and its command.

    python -m benchmarks.recipes
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scaling.architectures import name_of, shape
from otr import runs
from otr.training.hardware import RESERVE
from otr.training.setting import Engine, Setting
from otr.training.step_memory import memory_of

RECIPES = Path(__file__).parents[1] / "recipes"
DOCUMENT = RECIPES / "README.md"
BEGIN, END = "<!-- table:begin -->\n", "<!-- table:end -->\n"
_SHARDED = "configs/fsdp2.yaml"
_NUM_SHARDS = 8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe or a study, and what its head says of it."""

    name: str
    """The path in the folder of recipes."""

    title: str
    """The first line of its head, up to the hardware."""

    command: str

    gpu_gb: int | None
    """The size that its head names; None for a processor alone."""

    run: dict[str, Any]
    """The run, or what the runs of the study share."""

    @property
    def setting(self) -> Setting:
        """How it is trained, as plans take it."""
        training = self.run["training"]
        options = training.get("model_init_kwargs", {})
        is_sharded = _SHARDED in self.command
        return Setting(
            engine=Engine.FSDP2 if is_sharded else Engine.ONE,
            num_gpus=_NUM_SHARDS if is_sharded else 1,
            rows=training["per_device_train_batch_size"],
            length=training["max_length"],
            accumulation=training["gradient_accumulation_steps"],
            is_checkpointed=training["gradient_checkpointing"],
            weights=options.get("dtype", "float32"),
        )

    def planned_gb(self) -> float:
        """Of each GPU, at the fullest moment of a step whose rows are all of the greatest length."""
        rank = self.run.get("lora", {}).get("r")
        return memory_of(shape(name_of(self.run["model"]), rank), self.setting).total / 1e9

    @property
    def fits(self) -> bool:
        """Whether a GPU of the size that its head names holds it with a reserve."""
        return self.gpu_gb is None or self.planned_gb() <= (1 - RESERVE.value) * self.gpu_gb


def recipes() -> list[Recipe]:
    """All recipes and studies, by name; benchmarks' files apart."""
    found = []
    for path in sorted(RECIPES.rglob("*.yaml")):
        document = runs.read_yaml(path)
        if "columns" in document:
            continue
        text = path.read_text(encoding="utf-8")
        head = text.split("\n")[0].removeprefix("# ")
        size = re.search(r"(\d+) GB", head)
        command = re.search(r"^#   ((?:otr|accelerate) .*)$", text, re.M)
        assert command is not None, f"{path}: its head has no command"
        found.append(
            Recipe(
                name=str(path.relative_to(RECIPES)),
                title=head.rpartition(":")[0] if size else head.rstrip("."),
                command=command[1],
                gpu_gb=int(size[1]) if size else None,
                run=document.get("base", document),
            )
        )
    return found


def table() -> str:
    """The table, in Markdown."""
    lines = ["| file | what | needs | command |", "|---|---|---|---|"]
    for each in recipes():
        needs = "no GPU"
        if each.gpu_gb is not None:
            num = each.setting.num_gpus
            of = f"{num} GPUs" if num > 1 else "1 GPU"
            needs = f"{of} of {each.gpu_gb} GB; {each.planned_gb():.0f} GB predicted"
        lines.append(f"| `{each.name}` | {each.title} | {needs} | `{each.command}` |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    DOCUMENT.write_text(head + BEGIN + table() + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
