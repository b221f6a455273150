"""From a study file to the runs it takes, and which of them are there already."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otr import runs
from otr.errors import UserError
from otr.evaluation.answers import grade
from otr.evaluation.sources import scored_name
from otr.study.file import GRPO, Study
from otr.training.config import Run, differences, to_yaml, written

UNTUNED = "untuned"
"""The folder of the base model's scores."""

_NAME_LENGTH = 60
_STEPS = ("max_steps", "num_train_epochs")


@dataclass(frozen=True, kw_only=True)
class Rewarded:
    """How a run that learns from rewards gets them, and its budget where it has none of its own."""

    benchmark: str
    """Its verifier gives the rewards."""

    seconds_of: tuple[Path, ...]
    """Folders of runs that must be done first: their mean seconds are the budget."""

    def verifier(self, output: str, reference: str) -> bool:
        """Whether an output gives a reference's answer, by the benchmark's rule."""
        return grade(output, reference, self.benchmark)

    def budget(self) -> float:
        """The mean seconds of the runs in `seconds_of`.

        Raises: UserError if none of them is finished.
        """
        costs = [folder / runs.COST for folder in self.seconds_of]
        seconds = [runs.read_json(cost)["seconds"] for cost in costs if cost.is_file()]
        if not seconds:
            raise UserError(
                f"its budget is the seconds that {self.seconds_of[0].name} takes, and that has "
                "failed; mend it, or give this method max_seconds of its own"
            )
        return sum(seconds) / len(seconds)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to train and what to score it on; without a run, a model as it is."""

    folder: Path
    benchmarks: tuple[str, ...]
    limit: int | None = None
    run_code: bool = False
    run: Run | None = None
    model: str | None = None
    asked_like: Run | None = None
    """Of a model as it is: a run whose prompts it is to be asked in."""
    keep_model: bool = True
    rewarded: Rewarded | None = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    @property
    def is_trained(self) -> bool:
        """A model is written whole or not at all, and last."""
        return self.run is None or (self.folder / runs.MODEL).is_dir()

    @property
    def missing_benchmarks(self) -> list[str]:
        """Those whose scores are not there yet."""
        path = self.folder / runs.SCORES
        scores = runs.read_json(path) if path.is_file() else {}
        return [name for name in self.benchmarks if scored_name(name) not in scores]

    @property
    def is_finished(self) -> bool:
        """Whether every score is there."""
        return not self.missing_benchmarks


def planned_jobs(study: Study, *, run_code: bool = False) -> list[Job]:
    """The base model's scores, then every run: a seed at a time, so that a study that is stopped
    early has all objectives. `run_code` allows their scoring to run answers that are programs."""
    folder = Path(study.output_dir)
    names = [name for group in study.benchmarks.groups().values() for name in group]
    shared: dict[str, Any] = {
        "benchmarks": (*dict.fromkeys(names), study.validation.benchmark),
        "limit": study.limit,
        "run_code": run_code,
    }
    trained = []
    for seed in study.seeds:
        for options in study.objectives:
            for rate in options.get("learning_rates", study.learning_rates):
                run = run_of(study, options, rate, seed)
                trained.append(
                    Job(
                        folder=Path(run.output_dir),
                        run=run,
                        keep_model=study.keep_models == "all",
                        rewarded=rewarded_of(study, options, run),
                        **shared,
                    )
                )
    untuned = Job(
        folder=folder / UNTUNED, model=study.base["model"], asked_like=trained[0].run, **shared
    )
    return [untuned, *trained]


def rewarded_of(study: Study, options: dict[str, Any], run: Run) -> Rewarded | None:
    """What GRPO's runs need besides; None for an objective's."""
    if options["name"] != GRPO:
        return None
    first = study.objectives[0]
    rates = first.get("learning_rates", study.learning_rates)
    return Rewarded(
        benchmark=options.get("reward", study.validation.benchmark),
        seconds_of=()
        if run.max_seconds is not None
        else tuple(Path(run_of(study, first, rate, run.seed).output_dir) for rate in rates),
    )


def run_of(study: Study, options: dict[str, Any], rate: float, seed: int) -> Run:
    """One run of a study."""
    base = study.base
    own = own_options(options)
    data = dict(base["data"])
    data["train"] = data["train"].replace("{seed}", str(seed))
    training = {"save_strategy": "no", **(base.get("training") or {}), "learning_rate": rate}
    seconds = base.get("max_seconds")
    if own["name"] == GRPO:
        # One of its steps costs many of the others': the seconds alone are its budget.
        training = {key: training[key] for key in training if key not in _STEPS}
        seconds = own.get("max_seconds", seconds)
    folder = Path(study.output_dir) / f"{method_name(own)}-{rate:g}-seed-{seed}"
    return Run.model_validate(
        {
            "samples": {"every_steps": 0},
            **base,
            "data": data,
            "objective": own,
            "training": training,
            "max_seconds": seconds,
            "output_dir": str(folder),
            "seed": seed,
        }
    )


def method_name(options: dict[str, Any]) -> str:
    """An objective's name and options as part of a folder's name; the same for the same options."""
    parts = [str(options["name"])]
    parts += [f"{key}-{options[key]}" for key in sorted(options) if key != "name"]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))
    if len(name) > _NAME_LENGTH:
        name = f"{name[:_NAME_LENGTH]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def begin(study: Study, *, restart: bool) -> None:
    """Make the study folder, or see that what it holds is this study's.

    A study may grow by objectives, learning rates and seeds; what all of its runs share must stay.

    Raises: UserError that shows what differs; nothing is changed then.
    """
    folder, path = Path(study.output_dir), Path(study.output_dir) / runs.STUDY
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir: {folder} is a file; give a folder")
    runs.refuse_links(folder)
    for job in planned_jobs(study):
        runs.refuse_links(job.folder)
    if folder.is_dir() and not path.is_file() and any(folder.glob("*/" + runs.CONFIG)):
        raise UserError(
            f"output_dir: {folder} holds runs that are not a study's; give an empty or new folder"
        )
    if path.is_file() and not restart:
        differing = differences(_shared(runs.read_yaml(path)), _shared(written(study)))
        if differing:
            shown = "\n".join(f"  {line}" for line in differing[:5])
            raise UserError(
                f"output_dir: {folder} holds runs that were made otherwise:\n{shown}\n"
                "give another output_dir, or --restart to run all of them anew"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be made: {error.strerror}") from None
    runs.write_text(path, to_yaml(study))


def own_options(options: dict[str, Any]) -> dict[str, Any]:
    """An objective's options without the study's word on its learning rates."""
    return {key: value for key, value in options.items() if key != "learning_rates"}


def _shared(document: dict[str, Any]) -> dict[str, Any]:
    """What all runs of a study have in common."""
    return {key: document.get(key) for key in ("base", "limit")}
