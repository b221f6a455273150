"""Thoughts of reasoning models: no rule takes an answer out of them."""

import pytest

from otr.evaluation import grade
from otr.evaluation.benchmarks import Benchmark, Question
from otr.evaluation.grading import Item, grade_all
from otr.evaluation.thoughts import without_thoughts


@pytest.mark.parametrize(
    ("benchmark", "thought", "answer", "right", "wrong"),
    [
        ("gsm8k", "#### 3", "The answer is 42.", "#### 42", "#### 3"),
        ("math500", r"\boxed{3}", "The answer is 42.", "42", "3"),
        ("mmlu_pro", "The answer is (A).", "So it is (B)", "B", "A"),
        ("bbeh", "The answer is: yes", "no", "no", "yes"),
        ("demo", "ans 1 .", "ans 2 .", "2", "1"),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "<think>\n{}\n</think>\n\n{}",
        "{}\n</think>\n\n{}",
        "<think>Is it so? {}</think>{}",
        "<thinking>{}</thinking>\n{}",
        "[THINK]{}[/THINK]{}",
        "<seed:think>{}</seed:think>{}",
        "<think>I close with </think> later. {}</think>{}",
    ],
)
def test_an_answer_in_a_thought_is_not_looked_at(
    benchmark: str, thought: str, answer: str, right: str, wrong: str, form: str
) -> None:
    output = form.format(thought, answer)
    assert grade(output, right, benchmark)
    assert not grade(output, wrong, benchmark)
    assert not grade(f"<think>\n{thought}", wrong, benchmark)
    assert not grade(f"<think>\n{thought}\n</think>\n", wrong, benchmark)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("The answer is 5. <think>or 6", "The answer is 5. "),
        ("a <think>b</think> c <think>d</think> e", "a  c  e"),
        ("if a <b> and </b>", "if a <b> and </b>"),
        (
            'def f(s):\n    return re.sub(r"<think>.*?</think>", "", s)\n',
            'def f(s):\n    return re.sub(r"<think>.*?</think>", "", s)\n',
        ),
        ("def f(s):\n    return s.split('</think>')[1]\n",) * 2,
        ("Between `<think>` and `</think>` stands 5", "Between `<think>` and `</think>` stands 5"),
        ("", ""),
    ],
)
def test_only_thoughts_are_left_out(text: str, kept: str) -> None:
    assert without_thoughts(text) == kept


def test_a_thought_that_the_prompt_opens_begins_the_answer() -> None:
    benchmark = Benchmark(name="gsm8k", questions=(), max_new_tokens=1, rule="number")
    question = Question(id="q", prompt="", reference="#### 42", category="")

    def graded(prompt: str, output: str) -> bool:
        item = Item(output=output, question=question, benchmark=benchmark, prompt=prompt)
        return grade_all([item])[0].correct

    assert not graded("<|Assistant|><think>\n", "#### 42")
    assert graded("<|Assistant|><think>\n", "#### 3\n</think>\n#### 42")
    assert graded("<|Assistant|><think>\n\n</think>\n\n", "#### 42")
    assert graded("What is <think>?<|Assistant|>", "#### 42")
