"""Random input: everything is used or refused with a message, and nothing else is raised.

Recipes and study files, data and benchmark files, chat templates, run and study folders, checkpoints,
models and adapters.
"""

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from otr import runs
from otr.errors import UserError
from otr.evaluation.benchmarks import load_benchmarks
from otr.evaluation.scored_run import read_run
from otr.objectives import objective_from_options
from otr.pretrained import load_model, load_tokenizer
from otr.report.report import write_report
from otr.rows import read_rows
from otr.study.file import load_study
from otr.training.checkpoints import MANIFEST, why_broken
from otr.training.config import Data, load_run
from otr.training.folder import standing
from otr.training.tokens import tokenized_dataset
from reliability import inputs
from reliability.sound_folders import contents_of, finished_run, write_adapter, write_study

_NO_CHECKS: tuple[Any, ...] = tuple(HealthCheck)


class Fuzz:
    """The cases, on files in a folder of their own; counts what was tried and what was refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.tokenizer = load_tokenizer("demo")
        self.run = finished_run(folder)
        self.run_files = contents_of(Path(self.run.output_dir))
        write_study(folder / "compared", Path(self.run.output_dir))
        self.study_files = contents_of(folder / "compared")
        self.adapter_files = contents_of(write_adapter(folder / "adapter"))

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
                lambda name: st.tuples(st.just(name), inputs.spoilt_bytes(contents[name]))
            )

        return {
            "recipes": given(inputs.spoilt_text(inputs.RECIPE))(self.recipe),
            "studies": given(inputs.spoilt_text(inputs.STUDY))(self.study),
            "data files": given(
                st.lists(inputs.good_rows, min_size=1, max_size=4)
                | st.lists(inputs.rows | inputs.good_rows, max_size=4),
                st.sampled_from((".jsonl", ".json", ".csv", ".parquet")),
                st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=6)),
                st.just({}) | inputs.data_sections,
            )(self.data_file),
            "chat templates": given(
                st.just(inputs.TEMPLATE) | inputs.spoilt_text(inputs.TEMPLATE),
                inputs.good_turns | st.lists(inputs.turns, min_size=1, max_size=4),
            )(self.template),
            "benchmark files": given(
                st.lists(inputs.questions | inputs.rows, max_size=4) | inputs.spoilt_questions
            )(self.benchmark),
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
        for name, tried in made.tried.items():
            if say is not None and tried > before[name]:
                say(f"{name}: {tried} tried, {made.refused[name]} refused with a message")
    return made
