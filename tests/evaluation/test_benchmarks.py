"""The catalogue, files of users' own, and the questions that rows of public data become."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from otr.errors import UserError
from otr.evaluation import grade
from otr.evaluation.answers import RULES
from otr.evaluation.benchmark_file import benchmark_file, catalogue
from otr.evaluation.benchmarks import Benchmark, load_benchmarks

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TEN = {
    "gsm8k", "math500", "amc23", "minerva_math", "olympiadbench", "humaneval_plus", "mbpp_plus",
    "mmlu_pro", "supergpqa", "bbeh",
}  # fmt: skip

# One row of each hub dataset, in the columns and types of its public files.
ROWS: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": "2 and 2?", "answer": "It is 4.\n#### 4"},
    "math500": {
        "problem": "Halve 1.", "solution": r"It is $\boxed{\frac12}$.", "answer": r"\frac{1}{2}",
        "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json",
    },
    "amc23": {"id": 0, "question": "3 cubed?", "answer": "27", "url": "https://example.org"},
    "minerva_math": {"question": "How far?", "answer": "1.6"},
    "olympiadbench": {
        "id": 1606, "question": "How many?", "context": None, "final_answer": ["2", "3"],
        "is_multiple_answer": True, "unit": None, "answer_type": "Numerical", "error": "1e-1",
        "subfield": "Algebra",
    },
    "humaneval": {
        "task_id": "HumanEval/0", "prompt": "def one():\n", "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n", "entry_point": "one",
    },
    "humaneval_plus": {
        "task_id": "HumanEval/0", "prompt": "def one():\n", "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n", "entry_point": "one",
    },
    "mbpp_plus": {
        "task_id": 2, "code": "def one():\n    return 1", "prompt": "Write a function of one.",
        "source_file": "x", "test_imports": [], "test_list": ["assert one() == 1"],
        "test": "assert one() == 1",
    },
    "mmlu_pro": {
        "question_id": 70, "question": "Which?", "options": ["this", "that", "none"],
        "answer": "B", "answer_index": 1, "cot_content": "", "category": "law", "src": "x",
    },
    "supergpqa": {
        "uuid": "a-b", "question": "Which?", "options": ["this", "that"], "answer": "that",
        "answer_letter": "B", "discipline": "Law", "field": "Law", "subfield": "Law",
        "difficulty": "easy", "is_calculation": False,
    },
    "bbeh": {"task": "boolean expressions", "input": "Which is true?", "target": "(B)", "mini": 0},
}  # fmt: skip


def from_row(name: str, row: dict[str, Any], folder: Path) -> Benchmark:
    path = folder / f"{name}.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return load_benchmarks([f"{name}={path}"])[0]


def test_the_paper_s_ten_benchmarks_are_shipped() -> None:
    assert set(catalogue()) >= TEN
    assert set(ROWS) == set(catalogue())


@pytest.mark.parametrize("name", catalogue())
def test_a_public_row_becomes_a_question_whose_reference_its_rule_reads(
    name: str, tmp_path: Path
) -> None:
    benchmark = from_row(name, ROWS[name], tmp_path)
    (question,) = benchmark.questions
    described = benchmark_file(name)
    asked = str(ROWS[name].get("question", ROWS[name].get("problem", ROWS[name].get("input"))))
    asked = str(ROWS[name]["prompt"]) if described.answer.rule == "code" else asked
    for text in (question.prompt, question.messages[-1]["content"]):
        assert asked.strip() in text
        assert "{question}" not in text and "{options}" not in text and "None" not in text
    assert question.id.startswith(f"{name}/")
    assert benchmark.rule == described.answer.rule
    if benchmark.rule in RULES:
        assert RULES[benchmark.rule].of_reference(question.reference)
    if benchmark.rule == "math":
        assert grade(rf"\boxed{{{question.reference}}}", question.reference, name)
    assert described.source and described.title


def test_what_rules_need_beside_the_reference_comes_along(tmp_path: Path) -> None:
    (olympiad,) = from_row("olympiadbench", ROWS["olympiadbench"], tmp_path).questions
    assert olympiad.reference == "2, 3"
    assert olympiad.details["error"] == "1e-1" and olympiad.details["unit"] is None
    (amc,) = from_row("amc23", ROWS["amc23"] | {"answer": 27.0}, tmp_path).questions
    assert amc.reference == "27"
    (choice,) = from_row("mmlu_pro", ROWS["mmlu_pro"], tmp_path).questions
    assert (choice.reference, choice.category) == ("B", "law")
    assert "A. this\nB. that\nC. none" in choice.prompt
    (program,) = from_row("mbpp_plus", ROWS["mbpp_plus"], tmp_path).questions
    assert program.details["test_list"] == ["assert one() == 1"]
    assert program.prompt == '"""\nWrite a function of one.\nassert one() == 1\n"""\n'
    (completed,) = from_row("humaneval", ROWS["humaneval"], tmp_path).questions
    assert completed.prompt == "def one():\n" and completed.details["entry_point"] == "one"


def test_the_hub_is_asked_for_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: str, **options: Any) -> list[dict[str, Any]]:
        asked.append((path, options))
        return [ROWS["olympiadbench"]]

    monkeypatch.setattr(datasets, "load_dataset", load)
    (benchmark,) = load_benchmarks(["olympiadbench"])
    assert benchmark.questions[0].reference == "2, 3"
    assert asked == [
        ("Hothan/OlympiadBench", {"name": "OE_TO_maths_en_COMP", "split": "train"})
    ]  # fmt: skip


def test_without_the_hub_the_file_to_bring_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(path: str, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError) as caught:
        load_benchmarks(["mmlu_pro"])
    message = str(caught.value)
    for words in ("TIGER-Lab/MMLU-Pro", "Couldn't reach", "mmlu_pro=path/to/test.jsonl",
                  "'question', 'answer', 'options'"):  # fmt: skip
        assert words in message
    assert len(message.splitlines()) <= 3


OWN = """\
title: Capitals
data: {file: capitals.csv}
columns: {question: country, reference: [city, capital]}
optional: {hint: hint}
prompt: {base: "Capital of {question}?{hint} "}
answer: {rule: text}
max_new_tokens: 8
"""


def test_a_benchmark_of_one_s_own_is_a_yaml_file(tmp_path: Path) -> None:
    (tmp_path / "capitals.csv").write_text("country,capital\nFrance,Paris\nPeru,Lima\n")
    path = tmp_path / "capitals.yaml"
    path.write_text(OWN)
    (benchmark,) = load_benchmarks([str(path)])
    assert benchmark.name == "capitals" and benchmark.rule == "text"
    assert [q.prompt for q in benchmark.questions] == ["Capital of France? ", "Capital of Peru? "]
    assert [q.id for q in benchmark.questions] == ["capitals/0", "capitals/1"]
    other = tmp_path / "other.jsonl"
    other.write_text('{"country": "Chad", "city": "N\'Djamena"}\n')
    (benchmark,) = load_benchmarks([f"{path}={other}"])
    assert benchmark.questions[0].reference == "N'Djamena"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rule: text", "rule: txet", r"line 6: answer.rule: must be 'number'"),
        ("title:", "titel:", "line 1: titel: no such field; did you mean 'title'"),
        ("{file: capitals.csv}", "{fiel: capitals.csv}", "data.fiel: .*did you mean 'file'"),
        ("question: country, ", "", "columns: say which column holds the question"),
        ("{hint}", "{hnit}", r"asks for \{hnit\}, which no column gives; did you mean 'hint'"),
        ("max_new_tokens: 8", "max_new_tokens: 0", "max_new_tokens: .*greater than or equal"),
        ("{file: capitals.csv}", "{file: a.csv, hub: b/c}", "give either hub or file"),
        ("capitals.csv", "nowhere.csv", "nowhere.csv: no such file; bring its questions"),
        ("reference: [city, capital]", "reference: city", "line 2: needs a text 'city', has"),
        ("title: Capitals", "title: [", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_line_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "capitals.csv").write_text("country,capital\nFrance,Paris\n")
    path = tmp_path / "capitals.yaml"
    assert old in OWN
    path.write_text(OWN.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_benchmarks([str(path)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math50", "'math50' is not known; did you mean 'math500'"),
        ("mmlu_pro=", "say where mmlu_pro lies, as mmlu_pro=path"),
        ("demo=x.jsonl", "demo is embedded"),
        ("gsm8k/hard", "has no parts of its own; name 'gsm8k', or gsm8k/validation=FILE"),
        ("gsm8k/../x=rows.jsonl", "in letters, digits, - and _"),
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        ("gsm8k.yaml", "'gsm8k' is a benchmark of our own; give the file another name"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_the_way_out(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_benchmarks([name])


def test_questions_from_several_files_are_told_apart_by_a_part_s_name(tmp_path: Path) -> None:
    for name, reference in (("held-out", 4), ("test", 5)):
        row = {"question": "What?", "answer": f"#### {reference}"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    held_out, test = load_benchmarks(
        [f"gsm8k/validation={tmp_path / 'held-out.jsonl'}", f"gsm8k={tmp_path / 'test.jsonl'}"]
    )
    assert (held_out.name, test.name) == ("gsm8k/validation", "gsm8k")
    assert [each.questions[0].id for each in (held_out, test)] == ["gsm8k/validation/0", "gsm8k/0"]
    assert [each.questions[0].reference for each in (held_out, test)] == ["#### 4", "#### 5"]
    assert held_out.questions[0].prompt == test.questions[0].prompt == "What?\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "K"}, "'answer' is 'K', not a letter of an option"),
        ({"options": "this"}, "needs a list of options in 'options'"),
        ({"question": " "}, "needs a text 'question'"),
        ({"answer": None}, "not a letter"),
    ],
)
def test_a_row_that_cannot_be_graded_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"mmlu_pro.jsonl, line 1.*{message}"):
        from_row("mmlu_pro", ROWS["mmlu_pro"] | changes, tmp_path)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
@pytest.mark.parametrize(
    ("name", "num_questions", "num_categories"),
    [
        ("gsm8k", 1319, 1),
        ("amc23", 40, 1),
        ("minerva_math", 272, 9),
        ("olympiadbench", 675, 4),
        ("humaneval", 164, 1),
    ],
)
def test_real_files_are_read_without_settings(
    name: str, num_questions: int, num_categories: int
) -> None:
    (benchmark,) = load_benchmarks([f"{name}={DATA / name / 'test.jsonl'}"])
    assert len(benchmark.questions) == num_questions
    assert len({question.category for question in benchmark.questions}) == num_categories
    assert len({question.id for question in benchmark.questions}) == num_questions
