"""From a model and benchmark names to scores.json and answers.jsonl."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from otr.evaluation.benchmarks import Benchmark, load_benchmarks
from otr.evaluation.code_answers import unguarded
from otr.evaluation.engines import ENGINES, check_engine, load_engine
from otr.evaluation.evaluated import Evaluated, Options
from otr.evaluation.generation import Running, encoded, num_positions
from otr.evaluation.grading import Item, grade_all
from otr.evaluation.identity import benchmark_digest, model_config, model_digest
from otr.evaluation.partial import PartialAnswers, remove_partial
from otr.evaluation.processes import join_processes
from otr.evaluation.prompts import Prompts
from otr.evaluation.requests import Generated, Key, Request
from otr.evaluation.written import (
    SETTINGS,
    Row,
    Written,
    require_writable,
    scored,
    scores_folder,
)
from otr.pretrained import load_tokenizer, model_location
from otr.redaction import redacted
from otr.runs import model_folder
from otr.signals import Stopped, noted_signals

Progress = Callable[[int, int], None]
"""Told how many answers are done, and how many there will be."""

Say = Callable[[str], None]
"""Told what the user should know on the way."""


def _unheard(line: str) -> None:
    """Say nothing."""


def evaluate(
    model_or_run: str,
    benchmarks: Sequence[str],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    limit: int | None = None,
    output: Path | None = None,
    seed: int = 0,
    run_code: bool = False,
    restart: bool = False,
    harness: Sequence[str] = (),
    engine: str = ENGINES[0],
    prompt: str | None = None,
    num_workers: int | None = None,
    progress: Progress | None = None,
    running: Running | None = None,
    say: Say = _unheard,
) -> dict[str, Any]:
    """Scores of a model on benchmarks, by benchmark name; the same in each of several processes.

    `demo` stands for all its parts, and is itself scored over all of them but validation. `harness`
    names tasks of lm-evaluation-harness. `num_workers` processes grade at once, unless given as many
    as there are processors. Answers and scores are written to `output`, or else into
    the run folder, if it is one; what stands there of other benchmarks for the same model is kept.
    Both files are whole or absent.

    Answers are kept as they come: an evaluation that was stopped or killed goes on with the same
    call. What is finished is not done again, unless `restart` says so.

    Raises: UserError if an option, a benchmark or the model cannot be used, or if there are
    answers that were made otherwise; Stopped on SIGINT or SIGTERM.
    """
    loaded = load_benchmarks(list(benchmarks), limit) if benchmarks or not harness else []
    gaps = unguarded(loaded, run_code=run_code)
    options = Options(
        samples=samples, temperature=temperature, seed=seed, limit=limit, engine=engine, prompt=""
    )
    options.check()
    location = model_location(model_folder(model_or_run))
    prompts = Prompts(model_or_run, load_tokenizer(location), prompt)
    processes = join_processes()
    check_engine(engine, processes.count)
    evaluated = Evaluated(
        name=redacted(model_or_run),
        location=location,
        digest=model_digest(location),
        folder=scores_folder(model_or_run, output),
        options=replace(options, prompt=prompts.style),
        prompts=prompts,
        processes=processes,
    )
    say = say if processes.is_first else _unheard
    if processes.is_first:
        require_writable(evaluated.folder)
    for gap in gaps:
        say(gap)
    if prompts.leaves_template:
        say(
            "note: the model has a chat template, and is asked in plain text; --prompt chat asks it "
            "in conversations, as a run that was trained on conversations is asked"
        )
    written = Written(evaluated.folder, evaluated.name, evaluated.digest)
    with noted_signals() as signalled:
        stop = signalled.is_set
        scores = _scores(
            evaluated, loaded, benchmarks, written, run_code=run_code, restart=restart,
            num_workers=num_workers, progress=progress, running=running, say=say, stop=stop,
        )  # fmt: skip
        if harness:
            from otr.evaluation.harness import harness_scores

            scores |= harness_scores(
                evaluated, harness, written, restart=restart, say=say, stop=stop
            )
    return scores


def _scores(
    evaluated: Evaluated,
    loaded: list[Benchmark],
    names: Sequence[str],
    written: Written,
    *,
    run_code: bool,
    restart: bool,
    num_workers: int | None,
    progress: Progress | None,
    running: Running | None,
    say: Say,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Generate and grade what is missing, and write it with its scores."""
    if not loaded:
        return {}
    processes = evaluated.processes
    settings = {each.name: evaluated.settings(benchmark_digest(each)) for each in loaded}
    entries = {name: evaluated.entry_settings(each) for name, each in settings.items()}
    finished = {} if restart else written.finished({n: e[SETTINGS] for n, e in entries.items()})
    for name in finished:
        say(f"{name}: scored before; --restart does it anew")
    missing = [each for each in loaded if each.name not in finished]
    for each in missing:
        if (each.samples, each.temperature) != (
            evaluated.options.samples,
            evaluated.options.temperature,
        ):
            say(
                f"{each.name}: published scores are over --samples {each.samples} "
                f"--temperature {each.temperature:g}"
            )
    partial = _partial_answers(
        evaluated, {each.name: settings[each.name] for each in missing}, restart=restart
    )
    answers = _answers(
        evaluated, missing, partial, progress=progress, running=running, say=say, stop=stop
    )
    scores: dict[str, Any] = {}
    if processes.is_first:
        fresh = _graded(
            evaluated, missing, answers, run_code=run_code, num_workers=num_workers, stop=stop
        )
        rows = [row for each in loaded for row in finished.get(each.name) or fresh[each.name]]
        scores = scored(rows, names, entries)
        if missing or scores.keys() - written.scores.keys():
            written.add(scores, rows)
        partial.remove()
    # The others end when the files are there.
    return processes.gather(scores)[0]


def _partial_answers(
    evaluated: Evaluated, settings: dict[str, Any], *, restart: bool
) -> PartialAnswers:
    """The answers that a stopped evaluation has left, which are removed if all begins anew."""
    processes = evaluated.processes
    if restart and processes.is_first and evaluated.folder is not None:
        remove_partial(evaluated.folder, settings)
    processes.gather(None)
    partial = PartialAnswers(evaluated.folder, settings, processes.rank)
    # Nobody writes before all have read.
    processes.gather(None)
    partial.prepare()
    return partial


def _answers(
    evaluated: Evaluated,
    benchmarks: Sequence[Benchmark],
    partial: PartialAnswers,
    *,
    progress: Progress | None,
    running: Running | None,
    say: Say,
    stop: Callable[[], bool],
) -> dict[Key, Generated]:
    """All answers, in each process; those that are not there yet are generated."""
    processes, options, prompts = evaluated.processes, evaluated.options, evaluated.prompts
    requests = [
        request
        for benchmark in benchmarks
        for request in prompts.requests(
            benchmark, samples=options.samples, temperature=options.temperature, seed=options.seed
        )
    ]
    _check_prompts(evaluated, requests)
    mine = processes.share(requests)
    num_done = sum(request.key in partial.answers for request in mine)
    if partial.answers:
        say(f"going on: {len(partial.answers)} of {len(requests)} answers are there")
    whole = True

    def note(request: Request, answer: Generated) -> None:
        nonlocal num_done
        partial.append(request, answer)
        num_done += 1
        if progress is not None and processes.is_first:
            progress(num_done, len(mine))

    if num_done < len(mine):
        if progress is not None and processes.is_first:
            progress(num_done, len(mine))
        engine = load_engine(
            options.engine,
            evaluated.location,
            prompts.tokenizer,
            device=processes.device,
            end_texts=prompts.end_texts,
            sizes=partial.batch_sizes(processes.count),
            running=running if processes.is_first else None,
        )
        whole = engine.answer(mine, note, done=set(partial.answers), should_stop=stop)
    gathered = processes.gather((whole, partial.answers))
    answers = {key: answer for _, part in gathered for key, answer in part.items()}
    if not all(whole for whole, _ in gathered):
        raise Stopped(_stopped_words(evaluated.folder, len(answers), len(requests)))
    return answers


def _check_prompts(evaluated: Evaluated, requests: Sequence[Request]) -> None:
    """Find a prompt that is too long before the model is loaded."""
    config = model_config(evaluated.location) if requests else None
    if config is None:
        return
    positions = num_positions(config)
    for request in requests:
        if request.sample == 0:
            encoded(evaluated.prompts.tokenizer, request, positions)


def _graded(
    evaluated: Evaluated,
    benchmarks: Sequence[Benchmark],
    answers: dict[Key, Generated],
    *,
    run_code: bool,
    num_workers: int | None,
    stop: Callable[[], bool],
) -> dict[str, list[Row]]:
    """By benchmark, the rows of answers.jsonl."""
    is_chat = evaluated.prompts.style == "chat"
    places = [
        # Stop texts are no part of a conversation, so that they cut nothing there.
        (replace(benchmark, stop=()) if is_chat else benchmark, question, sample)
        for benchmark in benchmarks
        for question in benchmark.questions
        for sample in range(evaluated.options.samples)
    ]
    items = [
        Item(
            output=answers[benchmark.name, question.id, sample].text,
            question=question,
            benchmark=benchmark,
            prompt=evaluated.prompts.of(question) if is_chat else "",
        )
        for benchmark, question, sample in places
    ]

    def heed(num_done: int, num_all: int) -> None:
        if stop():
            raise Stopped(_stopped_words(evaluated.folder, len(answers), len(answers)))

    rows: dict[str, list[Row]] = {benchmark.name: [] for benchmark in benchmarks}
    graded = grade_all(items, run_code=run_code, num_workers=num_workers, progress=heed)
    for (benchmark, question, sample), grade in zip(places, graded, strict=True):
        answer = answers[benchmark.name, question.id, sample]
        rows[benchmark.name].append(
            {
                "benchmark": benchmark.name,
                "id": question.id,
                "category": question.category,
                "sample": sample,
                "prompt": evaluated.prompts.of(question),
                "output": answer.text,
                "extracted": grade.extracted,
                "reference": question.reference,
                "correct": grade.correct,
                "truncated": answer.truncated,
                "num_tokens": answer.num_tokens,
                "problem": grade.problem,
            }
        )
    return rows


def _stopped_words(folder: Path | None, num_done: int, num_all: int) -> str:
    if folder is None:
        return "stopped; nothing is kept without --output DIR"
    return (
        f"stopped; {num_done} of {num_all} answers are kept in {folder}, and the same command "
        "goes on"
    )
