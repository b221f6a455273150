"""Random input: everything is used or refused with a message, and nothing else is raised.

Recipes and study files, data and benchmark files, chat templates, run and study folders, checkpoints,
models and adapters.
"""

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from otr import runs
from otr.demo.regimes import REGIMES, data_section, write_demonstrations
from otr.errors import UserError
from otr.evaluation.benchmarks import load_benchmarks
from otr.evaluation.comparison import compare
from otr.evaluation.scored_run import read_run
from otr.objectives import objective_from_options
from otr.pretrained import load_model, load_tokenizer
from otr.report.report import write_report
from otr.rows import read_rows
from otr.study.file import load_study
from otr.training.checkpoints import MANIFEST, why_broken
from otr.training.config import Data, Run, load_run
from otr.training.folder import standing
from otr.training.inspection import token_views
from otr.training.tokens import tokenized_dataset

_RECIPE = """\
model: demo
data: {train: rows.jsonl, prompt: prompt, completion: completion}
objective:
  name: otr
  num_rollouts: 64
  anchor: {kl: 0.1, direction: forward}
training:
  max_steps: 100
  learning_rate: 1.0e-4
lora: {r: 8, target_modules: all-linear}
output_dir: runs/first
seed: 0
"""

_STUDY = """\
base: {model: demo, data: {train: rows.jsonl, prompt: a, completion: b}, training: {max_steps: 3}}
objectives: [{name: sft}, {name: otr, floor: 0.1}, {name: grpo, num_generations: 4}]
learning_rates: [1.0e-4, 1.0e-3]
seeds: [0, 1]
validation: {benchmark: demo/validation}
benchmarks: {in_domain: [demo/in_domain], retention: [demo/retention]}
output_dir: studies/first
"""

_TEMPLATE = """\
{%- for message in messages %}<|{{ message.role }}|> {{ message['content'] | trim }}<|endoftext|>
{% endfor %}
{%- if add_generation_prompt %}<|assistant|> {% endif %}"""

_NO_CHECKS: tuple[Any, ...] = tuple(HealthCheck)
_COLUMNS = (
    "prompt",
    "completion",
    "question",
    "answer",
    "text",
    "messages",
    "conversations",
    "tools",
)

_words = st.lists(
    st.sampled_from(("add", "1", "7", "and", "ans", "so", ".", ":", "+", "=", "repeat")),
    max_size=12,
).map(" ".join)
"""Text that the embedded tokenizer knows."""

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("role", "content", "name", "from", "value", "x")), inner)
    ),
    max_leaves=8,
)
_turn = st.fixed_dictionaries(
    {
        "role": st.sampled_from(("user", "assistant", "system", "tool", "")),
        "content": st.text(max_size=30) | _json,
    }
)


@st.composite
def _spoilt_text(draw: st.DrawFn, base: str) -> str:
    """A text with a few places cut out, doubled or replaced."""
    text = base
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 40)))
        middle = draw(
            st.sampled_from(
                ("", text[start:stop] * 2, "\n", ": ", "{}", "[1]", "&a *a", "!!x", "\t", "%}")
            )
            | st.text(max_size=12)
        )
        text = text[:start] + middle + text[stop:]
    return text


@st.composite
def _spoilt_bytes(draw: st.DrawFn, content: bytes) -> bytes | None:
    """Bytes with a bit flipped, cut short, replaced or (None) gone."""
    kind = draw(st.sampled_from(("flip", "cut", "replace", "gone", "json")))
    if kind == "gone":
        return None
    if kind == "replace":
        return draw(st.binary(max_size=40))
    if kind == "json":
        return json.dumps(draw(_json)).encode()
    if kind == "cut" or not content:
        return content[: draw(st.integers(0, max(0, len(content) - 1)))]
    place = draw(st.integers(0, len(content) - 1))
    spoilt = bytearray(content)
    spoilt[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(spoilt)


_row = st.dictionaries(
    st.sampled_from(_COLUMNS), st.text(max_size=40) | st.lists(_turn, max_size=4) | _json
)
_good_row = st.fixed_dictionaries({"prompt": _words, "completion": _words.filter(bool)})
_good_turns = st.lists(_words.filter(bool), min_size=2, max_size=4).map(
    lambda texts: [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(texts)
    ]
)
_question = st.fixed_dictionaries(
    {"question": st.text(max_size=20), "answer": st.sampled_from(("#### 4", "It is 4.", "no", 4))}
)
_spoilt_questions = _spoilt_text('{"question": "2 + 2?", "answer": "It is 4.\\n#### 4"}\n')
_data = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.sampled_from(_COLUMNS),
        "completion": st.sampled_from(_COLUMNS),
        "messages": st.sampled_from(_COLUMNS),
        "text": st.sampled_from(_COLUMNS),
        "separator": st.text(max_size=3),
        "overlong": st.sampled_from(("error", "drop", "truncate")),
        "limit": st.integers(1, 3),
    },
)


class Fuzz:
    """The cases, on files in a folder of their own; counts what was tried and what was refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.tokenizer = load_tokenizer("demo")
        self.run = _finished_run(folder)
        self.run_files = _contents(Path(self.run.output_dir))
        _write_study(folder / "compared", Path(self.run.output_dir))
        self.study_files = _contents(folder / "compared")
        self.adapter_files = _contents(_write_adapter(folder / "adapter"))

    def targets(self) -> dict[str, Callable[..., None]]:
        """By name, each kind of input; call it under hypothesis' settings."""
        files = sorted(self.run_files)
        checkpoint = [name for name in files if name.startswith(runs.CHECKPOINTS)]
        plain = [name for name in files if not name.startswith((runs.CHECKPOINTS, runs.MODEL))]

        model = [name for name in files if name.startswith(runs.MODEL)]
        compared = [name for name in (runs.RESULTS, runs.TOKENS) if name in self.study_files]

        def spoilt(
            names: list[str], contents: dict[str, bytes] = self.run_files
        ) -> st.SearchStrategy[tuple[str, bytes | None]]:
            return st.sampled_from(names).flatmap(
                lambda name: st.tuples(st.just(name), _spoilt_bytes(contents[name]))
            )

        return {
            "recipes": given(_spoilt_text(_RECIPE))(self.recipe),
            "studies": given(_spoilt_text(_STUDY))(self.study),
            "data files": given(
                st.lists(_good_row, min_size=1, max_size=4)
                | st.lists(_row | _good_row, max_size=4),
                st.sampled_from((".jsonl", ".json", ".csv", ".parquet")),
                st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=6)),
                st.just({}) | _data,
            )(self.data_file),
            "chat templates": given(
                st.just(_TEMPLATE) | _spoilt_text(_TEMPLATE),
                _good_turns | st.lists(_turn, min_size=1, max_size=4),
            )(self.template),
            "benchmark files": given(st.lists(_question | _row, max_size=4) | _spoilt_questions)(
                self.benchmark
            ),
            "run folders": given(spoilt(plain))(self.run_folder),
            "study folders": given(spoilt(compared, self.study_files))(self.study_folder),
            "models": given(spoilt(model))(self.model),
            "adapters": given(spoilt(sorted(self.adapter_files), self.adapter_files))(self.adapter),
            "checkpoints": given(spoilt(checkpoint))(self.checkpoint),
        }

    def recipe(self, text: str) -> None:
        path = self.folder / "recipe.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with self._case("recipes"):
            run = load_run(path)
            try:
                objective_from_options(run.objective)
            except ValueError as error:
                raise UserError(str(error)) from None

    def study(self, text: str) -> None:
        path = self.folder / "study.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with self._case("studies"):
            load_study(path)

    def data_file(
        self, rows: list[Any], ending: str, cut: tuple[int, bytes] | None, data: dict[str, Any]
    ) -> None:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if cut is not None:
            content = content[: cut[0]] + cut[1] + content[cut[0] :]
        path = self.folder / f"fuzzed{ending}"
        path.write_bytes(content)
        with self._case("data files"):
            self._tokenize(read_rows(str(path)), Data(train=str(path), **data))

    def template(self, template: str, turns: list[Any]) -> None:
        path = self.folder / "turns.json"
        path.write_text(json.dumps([{"messages": turns}]))
        self.tokenizer.chat_template = template
        with self._case("chat templates"):
            self._tokenize(read_rows(str(path)), Data(train=str(path)))

    def run_folder(self, change: tuple[str, bytes | None]) -> None:
        folder = self._spoilt("run", change)
        with self._case("run folders"):
            standing(folder, self.run, {})
        with self._case("run folders"):
            read_run(folder)
        with self._case("run folders"):
            write_report([folder], self.folder / "report.html")

    def benchmark(self, rows: list[Any] | str) -> None:
        path = self.folder / "benchmark.jsonl"
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with self._case("benchmark files"):
            (loaded,) = load_benchmarks([f"gsm8k={path}"], None)
            assert all(question.prompt for question in loaded.questions)

    def study_folder(self, change: tuple[str, bytes | None]) -> None:
        folder = self._spoilt("study", change, self.study_files, self.folder / "compared")
        with self._case("study folders"):
            write_report([folder], self.folder / "report.html")

    def model(self, change: tuple[str, bytes | None]) -> None:
        folder = self._spoilt("model", change) / runs.MODEL
        with self._case("models"):
            self._load(folder)

    def adapter(self, change: tuple[str, bytes | None]) -> None:
        folder = self._spoilt("adapted", change, self.adapter_files, self.folder / "adapter")
        with self._case("adapters"):
            self._load(folder)

    def _load(self, folder: Path) -> None:
        load_tokenizer(str(folder))
        model = load_model(str(folder))
        assert all(value.device.type == "cpu" for value in model.parameters())

    def checkpoint(self, change: tuple[str, bytes | None]) -> None:
        name, content = change
        folder = self._spoilt("checkpoint", change)
        path = folder / Path(*Path(name).parts[:2])
        is_as_before = content == self.run_files[name]
        self.tried["checkpoints"] += 1
        reason = why_broken(path)
        self.refused["checkpoints"] += reason is not None
        if Path(name).name == MANIFEST:
            # White space in it may differ.
            is_as_before = reason is None
        assert (reason is None) == is_as_before, f"{name}: {reason}"

    def _tokenize(self, rows: Any, data: Data) -> None:
        dataset, _ = tokenized_dataset(rows, data, self.tokenizer, 64)
        for row in dataset:
            ids, labels = row["input_ids"], row["labels"]  # type: ignore[index]
            assert len(ids) == len(labels) <= 64
            assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))

    def _spoilt(
        self,
        name: str,
        change: tuple[str, bytes | None],
        contents: dict[str, bytes] | None = None,
        of: Path | None = None,
    ) -> Path:
        """A copy of a folder, the run's unless given, with one file changed."""
        folder = self.folder / name
        if not folder.is_dir():
            shutil.copytree(of or self.run.output_dir, folder)
        for path, content in (contents or self.run_files).items():
            wanted = change[1] if path == change[0] else content
            if wanted is None:
                (folder / path).unlink(missing_ok=True)
            elif not (folder / path).is_file() or (folder / path).read_bytes() != wanted:
                (folder / path).write_bytes(wanted)
        return folder

    def _case(self, name: str) -> "_Case":
        return _Case(self, name)


class _Case:
    """Counts a case; a refusal must be short and say something."""

    def __init__(self, fuzz: Fuzz, name: str) -> None:
        self.fuzz, self.name = fuzz, name

    def __enter__(self) -> None:
        self.fuzz.tried[self.name] += 1

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, UserError):
            return False
        message = str(error)
        assert message.strip() and len(message.splitlines()) <= 12 and len(message) < 4000
        self.fuzz.refused[self.name] += 1
        return True


def fuzz(
    folder: Path,
    num_examples: int,
    *,
    random_seed: int = 0,
    kinds: Sequence[str] = (),
    say: Callable[[str], object] | None = None,
) -> Fuzz:
    """Try so many examples of every kind, or of some; the first failure is raised, made small.

    `say` is told the counts after each kind.
    """
    made = Fuzz(folder)
    targets = made.targets()
    for kind in kinds or targets:
        before = made.tried.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = settings(
                max_examples=num_examples, database=None, deadline=None,
                suppress_health_check=_NO_CHECKS,
                phases=(Phase.generate, Phase.shrink),
            )  # fmt: skip
            seed(random_seed)(chosen(targets[kind]))()
        for name, tried in made.tried.items() if say is not None else ():
            if tried > before[name]:
                say(f"{name}: {tried} tried, {made.refused[name]} refused with a message")
    return made


def _finished_run(folder: Path) -> Run:
    """A small run that was trained and scored, with a checkpoint."""
    from otr.evaluation.pipeline import evaluate
    from otr.training.pipeline import train

    write_demonstrations(REGIMES[0], 0, folder / "rows.jsonl")
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": data_section(folder / "rows.jsonl") | {"limit": 16},
            "training": {"max_steps": 2, "save_steps": 2, "per_device_train_batch_size": 2},
            "output_dir": str(folder / "trained"),
        }
    )
    train(run, progress=False)
    benchmarks = ["demo/in_domain", "demo/validation"]
    evaluate(run.output_dir, benchmarks, limit=2, output=Path(run.output_dir))
    return run


def _write_study(folder: Path, run: Path) -> None:
    """A study folder of that run alone."""
    folder.mkdir()
    shutil.copytree(run, folder / run.name, ignore=shutil.ignore_patterns("checkpoints", "model"))
    scored = read_run(folder / run.name)
    comparison = compare(
        "study", "A study", [scored], [],
        model="demo-weak", budget={"steps": 2}, benchmarks={"in_domain": ["demo/in_domain"]},
        validation="demo/validation", untuned=scored.answered,
    )  # fmt: skip
    runs.write_json(folder / runs.RESULTS, comparison.as_json())
    data = Data.model_validate(data_section(folder.parent / "rows.jsonl"))
    views = token_views("demo-weak", data, [0], [objective_from_options({"name": "otr"})])
    runs.write_json(folder / runs.TOKENS, views)


def _write_adapter(folder: Path) -> Path:
    """A LoRA adapter of an embedded model."""
    base = load_model("demo-weak")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=2)
    adapted: Any = get_peft_model(base, config)
    adapted.save_pretrained(folder)
    load_tokenizer("demo-weak").save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
