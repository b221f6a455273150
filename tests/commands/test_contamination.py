"""`otr check --against`: benchmarks that stand in the training data."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from otr import runs
from otr.commands.main import main

pytestmark = pytest.mark.filterwarnings("ignore")

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the folder ../shared/data with real data is not there"
)

PROBLEMS = [
    (
        "A farmer has 17 sheep and buys 5 more on each of the next 3 days. How many has he then?",
        "32",
    ),
    ("Compute the area of a right triangle with legs of 6 and 8.", "24"),
    ("What is the greatest prime factor of the number of days in a leap year?", "61"),
]
SOLUTION = (
    "Each day he buys five, which makes fifteen over three days, and with those that he had at first "
    "there are thirty-two of them in the end."
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    questions = [{"problem": question, "answer": answer} for question, answer in PROBLEMS]
    runs.write_jsonl(tmp_path / "math.jsonl", questions)
    return tmp_path


def checked(
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    data: dict[str, Any],
    *words: str,
) -> list[str]:
    runs.write_jsonl(Path("rows.jsonl"), rows)
    recipe = {"model": "nobody/has-this", "data": {"train": "rows.jsonl"} | data, "output_dir": "r"}
    with open("recipe.yaml", "w") as file:
        YAML(typ="safe").dump(recipe, file)
    assert main(["check", "recipe.yaml", *words]) == 0
    return capsys.readouterr().out.splitlines()


PLAIN = {"prompt": "question", "completion": "answer"}


def test_planted_questions_are_counted_and_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": f"How do I bake bread number {n}?", "answer": "Slowly."} for n in range(30)
    ]
    rows[7]["question"] = "Problem: " + PROBLEMS[0][0].upper()
    rows[11]["question"] = PROBLEMS[1][0].replace("6 and 8", "9 and 12")
    lines = checked(capsys, rows, PLAIN, "--against", "math500=math.jsonl")
    assert lines[0].startswith("rows       30, of ")
    assert "math500    3 questions: 1 copied, 1 nearly, 1 share 13 words in a row" in lines
    assert "           math500/0, copied in rows.jsonl, line 8" in lines
    assert "           math500/1, 100% of its words in rows.jsonl, line 12" in lines
    assert "             trained  A FARMER HAS 17 SHEEP" in "\n".join(lines)
    assert any(line.startswith("math500    3 reference answers: 0 copied") and
               "3 of under 8 words not looked for" in line for line in lines)  # fmt: skip
    (problem,) = [line for line in lines if line.startswith("PROBLEM")]
    assert "math500: of 3 questions 1 are copied" in problem and "1 nearly" in problem
    assert not (folder / "r").exists()


def test_conversations_reasoning_and_answers_are_looked_into(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [{"problem": "Unknown to all?", "solution": SOLUTION + " #### 32"}]
    runs.write_jsonl(folder / "solved.jsonl", questions)
    turns = [
        {"role": "user", "content": "Help me."},
        {"role": "assistant", "content": SOLUTION, "reasoning_content": PROBLEMS[2][0]},
    ]
    words = ["--against", "math500=math.jsonl", "--against", "minerva_math=solved.jsonl"]
    own = {"title": "t", "data": {"file": "solved.jsonl"}, "max_new_tokens": 9,
           "columns": {"question": "problem", "reference": "solution"},
           "prompt": {"base": "{question}"}, "answer": {"rule": "text"}}  # fmt: skip
    (folder / "own.yaml").write_text(json.dumps(own))
    words[-1] = "own.yaml"
    lines = checked(capsys, [{"messages": turns}], {"messages": "messages"}, *words)
    assert any(line.startswith("math500    3 questions: 1 copied") for line in lines)
    assert any(line.startswith("own        1 reference answers: 0 copied, 1 nearly, 1 share") for line in lines)  # fmt: skip


def test_a_clean_file_is_said_to_be_clean_and_prompts_are_not_taken_for_questions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The words that our prompts add stand in every row.
    rows = [{"question": "Problem:\nSolution:", "answer": "Please reason step by step."}] * 3
    lines = checked(capsys, rows, PLAIN, "--against", "math500=math.jsonl")
    assert lines[-1] == "no benchmark text is copied, or nearly copied, in the training data"
    assert not [line for line in lines if line.startswith("PROBLEM")]


def test_options_are_part_of_a_question(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = {"question": "Which is right?", "options": ["red fox", "blue whale", "green frog"],
                "answer": "B", "answer_index": 1, "category": "zoo", "question_id": 4}  # fmt: skip
    runs.write_jsonl(folder / "zoo.jsonl", [question])
    rows = [
        {"question": "Which is right?\nA. red fox\nB. blue whale\nC. green frog", "answer": "B"}
    ]
    lines = checked(capsys, rows, PLAIN, "--against", "mmlu_pro=zoo.jsonl")
    assert any("1 questions: 1 copied" in line for line in lines)
    rows = [{"question": "Which is right?", "answer": "This"}]
    lines = checked(capsys, rows, PLAIN, "--against", "mmlu_pro=zoo.jsonl")
    assert any("1 questions: 0 copied" in line for line in lines)


def test_a_benchmark_that_is_unknown_or_named_twice_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked(capsys, [{"question": "a", "answer": "b"}], PLAIN, "--against", "demo/in_domain")
    for words, said in (
        (["gsm9k"], "'gsm9k' is not known"),
        (["demo", "demo/in_domain"], "'demo/in_domain' is given twice"),
        (["math500=missing.jsonl"], "missing.jsonl: no such file"),
    ):
        against = [word for name in words for word in ("--against", name)]
        assert main(["check", "recipe.yaml", *against]) == 2
        assert said in capsys.readouterr().err


@needs_shared
def test_gsm8k_shares_with_its_own_training_half_what_sets_of_words_find(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from otr.evaluation.ngrams import words_of

    train = [words_of(row[key]) for row in runs.read_jsonl(SHARED / "gsm8k/train.jsonl")
             for key in ("question", "answer")]  # fmt: skip
    test = list(runs.read_jsonl(SHARED / "gsm8k/test.jsonl"))
    thirteens = {hash(tuple(w[i : i + 13])) for w in train for i in range(len(w) - 12)}
    joined = "\n".join(f" {' '.join(words)} " for words in train)
    expected = []
    for key in ("question", "answer"):
        asked = [words_of(row[key]) for row in test]
        shared = sum(any(hash(tuple(w[i : i + 13])) in thirteens for i in range(len(w) - 12)) for w in asked)  # fmt: skip
        copied = sum(f" {' '.join(words)} " in joined for words in asked[:100])
        expected.append((copied, shared))
    data = {"train": str(SHARED / "gsm8k/train.jsonl")} | PLAIN
    lines = checked(capsys, [], data, "--against", f"gsm8k={SHARED / 'gsm8k/test.jsonl'}")
    questions, answers = [line for line in lines if line.startswith("gsm8k ")]
    assert expected == [(0, 3), (0, 6)]
    assert "1319 questions: 0 copied, 7 nearly, 3 share 13 words" in questions
    assert "1319 reference answers: 0 copied, 0 nearly, 6 share 13 words" in answers


@pytest.mark.parametrize(
    ("row", "data"),
    [
        ({"text": f"Once. {PROBLEMS[0][0]} Twice."}, {"text": "text"}),
        ({"a": "Do this.", "b": PROBLEMS[0][0], "c": "32"}, {"prompt": ["a", "b"], "completion": "c"}),
        ({"a": "Do this.", "b": None, "c": PROBLEMS[0][0]}, {"prompt": ["a", "b"], "completion": "c"}),
        ({"instruction": "Solve.", "input": PROBLEMS[0][0], "output": "32"}, {}),
    ],
)  # fmt: skip
def test_every_column_that_is_trained_on_is_looked_into(
    row: dict[str, Any], data: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = checked(capsys, [row], data, "--against", "math500=math.jsonl")
    assert any(line.startswith("math500    3 questions: 1 copied") for line in lines)
