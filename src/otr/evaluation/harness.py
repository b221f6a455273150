"""Tasks of lm-evaluation-harness on our models: the optional extra `harness`."""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from otr.errors import UserError, first_line
from otr.evaluation.engines import precision
from otr.evaluation.evaluated import Evaluated
from otr.evaluation.identity import digest
from otr.evaluation.statistics import wilson_interval
from otr.evaluation.written import SETTINGS, Row, Scores, Written
from otr.extras import install_words
from otr.pretrained import load_model
from otr.runs import PARTIAL
from otr.signals import Stopped

PREFIX = "harness/"
"""Before a task's name in scores.json."""

_MAIN_METRICS = ("exact_match", "acc")
"""Right or wrong for each question; `accuracy` is the first that a task has."""

_CPU_ROWS = 16
_BOOTSTRAP = 1000


def harness_scores(
    evaluated: Evaluated,
    specs: Sequence[str],
    written: Written,
    *,
    restart: bool,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> Scores:
    """The scores of tasks, each a name or a YAML file, by `harness/` and the name of the task.

    A task's `metrics` are the harness's own; `accuracy` with Wilson's interval is that of the
    first filter of its metric that is right or wrong, if it has one.

    Raises: UserError if the harness is not there, or a task cannot be loaded; Stopped.
    """
    check_harness(evaluated.options.engine, evaluated.processes.count)
    scores: Scores = {}
    model: Any = None
    for spec in specs:
        manager = _manager(spec)
        content = _load(spec, manager)
        settings = {
            name: evaluated.settings(text) | {"harness": import_module("lm_eval").__version__}
            for name, text in content.items()
        }
        entries = {name: evaluated.entry_settings(each) for name, each in settings.items()}
        if not restart and all(
            written.has_score(name, entry[SETTINGS]) for name, entry in entries.items()
        ):
            say(f"{spec}: scored before; --restart does it anew")
            scores |= {name: written.scores[name] for name in entries}
            continue
        model = model or _model(evaluated, stop)
        cache = _cache(evaluated, digest(settings), restart)
        results = _run(spec, manager, model, evaluated, cache)
        fresh, rows = _read(results, entries)
        written.add(fresh, rows)
        scores |= fresh
        if cache is not None:
            _remove(cache)
    return scores


def check_harness(engine: str, num_processes: int) -> None:
    """Raise UserError if tasks of the harness cannot be run."""
    if find_spec("lm_eval") is None:
        raise UserError(
            "harness: lm-evaluation-harness is not installed; "
            f"`{install_words('harness')}` brings it"
        )
    if engine != "transformers":
        raise UserError("harness: works with --engine transformers alone")
    if num_processes > 1:
        raise UserError("harness: works in one process; start it without torchrun")


def _manager(spec: str) -> Any:
    """What finds tasks. Reading the thousands that the harness brings takes a while, so they are
    left out for a file."""
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    return TaskManager(include_defaults=not Path(spec).is_file())


def _load(spec: str, manager: Any) -> dict[str, str]:
    """By the name in scores.json, a digest of each task's definition and documents; for a group,
    of all its tasks'."""
    try:
        loaded = manager.load([spec])
        found = {
            PREFIX + name: digest([task.dump_config(), list(task.eval_docs)])
            for name, task in loaded["tasks"].items()
        }
    except Exception as error:
        # Unknown names, files that are not YAML, data that cannot be fetched: each has its kind.
        raise UserError(f"harness: cannot load the task {spec!r}: {first_line(error)}") from error
    together = digest(sorted(found.values()))
    return found | {PREFIX + name: together for name in loaded["groups"]}


def _model(evaluated: Evaluated, stop: Callable[[], bool]) -> Any:
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    device = evaluated.processes.device

    class Model(HFLM):
        """The harness's own model class, that heeds signals between batches."""

        def _model_generate(self, *words: Any, **options: Any) -> Any:
            _heed(stop, evaluated.folder)
            return super()._model_generate(*words, **options)

        def _model_call(self, *words: Any, **options: Any) -> Any:
            _heed(stop, evaluated.folder)
            return super()._model_call(*words, **options)

    model: Any = load_model(evaluated.location, dtype=precision(device))
    return Model(
        pretrained=model.to(device).eval(),
        tokenizer=evaluated.prompts.tokenizer,
        batch_size="auto" if device.startswith("cuda") else _CPU_ROWS,
        chat_template_args=evaluated.prompts.variables or None,
    )


def _heed(stop: Callable[[], bool], folder: Path | None) -> None:
    if stop():
        kept = f"what was answered is kept in {folder}, and " if folder else ""
        raise Stopped(f"stopped; {kept}the same command goes on")


def _run(
    spec: str, manager: Any, model: Any, evaluated: Evaluated, cache: Path | None
) -> dict[str, Any]:
    from lm_eval.evaluator import simple_evaluate  # pyright: ignore[reportMissingImports]

    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
    return simple_evaluate(
        model=model,
        tasks=[spec],
        task_manager=manager,
        limit=evaluated.options.limit,
        use_cache=None if cache is None else str(cache),
        apply_chat_template=evaluated.prompts.style == "chat",
        bootstrap_iters=_BOOTSTRAP,
    )


def _read(results: dict[str, Any], entries: Scores) -> tuple[Scores, list[Row]]:
    """Entries of scores.json and rows of answers.jsonl from the harness's results."""
    scores: Scores = {}
    rows: list[Row] = []
    found = results.get("groups", {}) | results["results"]
    for name, settings in entries.items():
        task = name.removeprefix(PREFIX)
        metrics = {
            metric: float(value)
            for metric, value in found.get(task, {}).items()
            if isinstance(value, int | float) and metric != "sample_len"
        }
        samples = results.get("samples", {}).get(task, [])
        main = _main_metric(samples)
        own = [] if main is None else _rows(name, task, samples, main)
        scores[name] = {
            "n": len({sample["doc_id"] for sample in samples}) or _num_samples(results, task)
        }
        if main is not None:
            accuracy = sum(row["correct"] for row in own) / len(own)
            interval = list(wilson_interval(accuracy, len(own)))
            scores[name] |= {"accuracy": accuracy, "interval_95": interval}
            scores[name]["metric"] = ",".join(main)
        scores[name] |= {"metrics": metrics, **settings}
        rows += own
    return scores, rows


def _num_samples(results: dict[str, Any], task: str) -> int:
    """The questions of a group: those of its tasks, which are all that was run."""
    sizes = results.get("n-samples", {})
    members = results.get("group_subtasks", {}).get(task) or sizes
    return sum(int(sizes[member]["effective"]) for member in members if member in sizes)


def _main_metric(samples: Sequence[dict[str, Any]]) -> tuple[str, str] | None:
    """The metric and filter that `accuracy` is of: each question right or wrong, asked once."""
    for metric in _MAIN_METRICS:
        for sample in samples:
            if metric in sample:
                chosen = [each for each in samples if each["filter"] == sample["filter"]]
                if all(each.get(metric) in (0, 1) for each in chosen):
                    return metric, sample["filter"]
    return None


def _rows(
    name: str, task: str, samples: Sequence[dict[str, Any]], main: tuple[str, str]
) -> list[Row]:
    metric, kept = main
    return [
        {
            "benchmark": name,
            "id": f"{task}/{sample['doc_id']}",
            "category": task,
            "sample": 0,
            "prompt": sample["arguments"][0][0],
            "output": _text(sample["resps"][0][0]),
            "extracted": _text(sample["filtered_resps"][0]),
            "reference": str(sample["target"]),
            "correct": bool(sample[metric]),
            # The harness does not say.
            "truncated": None,
            "num_tokens": None,
            "problem": None,
        }
        for sample in samples
        if sample["filter"] == kept
    ]


def _text(response: Any) -> str | None:
    """What was written; None where a task compares likelihoods and nothing is."""
    return response if isinstance(response, str) else None


def _cache(evaluated: Evaluated, name: str, restart: bool) -> Path | None:
    """Where the harness keeps the answers of a task that is not finished."""
    if evaluated.folder is None:
        return None
    cache = evaluated.folder / PARTIAL / f"harness-{name}"
    if restart:
        _remove(cache)
    return cache


def _remove(cache: Path) -> None:
    if cache.parent.is_dir():
        for path in cache.parent.glob(f"{cache.name}*"):
            path.unlink()
        if not any(cache.parent.iterdir()):
            cache.parent.rmdir()
