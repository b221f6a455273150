"""Grading: mathematics in many forms, letters, short answers, and answers that would never end."""

import os
import re
import threading
from typing import Any

import pytest

from otr.errors import UserError
from otr.evaluation import grade, workers
from otr.evaluation.answers import final_number
from otr.evaluation.benchmarks import Benchmark, Question
from otr.evaluation.choices import chosen_letter
from otr.evaluation.grading import Graded, Item, grade_all
from otr.evaluation.mathematics import boxed, find_answer
from otr.evaluation.short_answers import bbeh_answer, bbeh_reference, plain_answer, same_in_bbeh
from otr.extras import install_words
from reliability.grading import DATA, as_item, cases, load

pytest.importorskip("math_verify")


def item(answer: str, reference: str, *, rule: str = "math", **details: Any) -> Item:
    return Item(
        output=f"\\boxed{{{answer}}}" if rule == "math" else answer,
        question=Question(
            id="q", prompt="", reference=reference, category="", details=details
        ),
        benchmark=Benchmark(
            name="olympiadbench", questions=(), max_new_tokens=1, rule=rule, tolerance=1e-4
        ),
    )  # fmt: skip


SAME = [
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt{2}}"),
    ("n(n+1)/2", r"\frac{n^2+n}{2}"),
    ("x=3", "3"),
    (r"\{1,2,3\}", "3,2,1"),
    (r"62.5\%", r"\frac58"),
    ("0.08", "8%"),
    ("8", r"8 \%"),
    ("45 minutes", "45"),
    (r"5 \text{ cm}^2", "5"),
    (r"30^{\circ}", "30"),
    ("1,000,000", "1000000"),
    (r"1{,}000", "1000"),
    ("10^6", "1000000"),
    (r"4.5 \times 10^{33}", "4.5e33"),
    (r"2\frac12", "2.5"),
    ("0.33333", "1/3"),
    (r"3\pm\sqrt2", r"3+\sqrt{2}, 3-\sqrt{2}"),
    (r"\frac{\pi}{6}+k\pi", r"\pi k+\pi/6"),
    (r"[2,\infty)", r"k\geq 2"),
    (r"k\ge2", r"[2,\infty)"),
    (r"(-\infty,0)\cup(3,4)", r"(3,4)\cup(-\infty,0)"),
    (r"\binom{2n}{n}", r"\frac{(2n)!}{(n!)^2}"),
    (r"\lfloor n/2 \rfloor", r"\left\lfloor\frac{n}{2}\right\rfloor"),
    ("0.8776", "np.arcsin(10/13)"),
    (r"\log_{10} 2", r"\frac{\ln 2}{\ln 10}"),
    ("y' + r y = r x(t)", r"y^{\prime}+r y-r x(t)=0"),
    (r"e^{2 i t}(1-i)/4", r"\frac{e^{2 i t}}{(2+2 i)}"),
    (r"\text{Yes}", "yes"),
    ("2,4", "(2,4)"),
    (
        r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}",
        r"\begin{pmatrix}-2\\-14\\-7\end{pmatrix}",
    ),
    (
        r"\begin{bmatrix} 1 & 2 \\[4pt] 3 & 0.5 \end{bmatrix}",
        r"\begin{pmatrix}1&2\\3&\frac12\end{pmatrix}",
    ),
    (
        "\\left(\\begin{array}{cc} 1 & a \\\\\n 3 & 4 \\\\ \\end{array}\\right)",
        r"\begin{pmatrix}1&a\\3&4\end{pmatrix}",
    ),
    ("[-2,7]", r"x \in [-2,7]"),
    (r"x\in A\cup B", r"A\cup B"),
    (r"m\in\{1,2\}", r"\{2,1\}"),
    ("x \u2208 (-\u221e, 3]", r"(-\infty,3]"),
    (r"x_1\in\mathbb{R}", r"\mathbb{R}"),
    ("52_{8}", "52_8"),
    (r"52_{\text{eight}}", "52_8"),
    (r"52 \text{ (base 8)}", "52_8"),
    ("52 in base 8", "52_8"),
    ("(52)_8", "52_8"),
    (r"\text{3F}_{16}", "3F_{16}"),
    (r"1{,}234\text{ dollars}", "1234"),
    (r"1\,234", "1234"),
    ("\u20ac5", "5"),
    (r"\pounds 5.50", "5.5"),
    (r"\text{Rs. }500", "500"),
    ("US$5", "5"),
    ("USD 1,200", "1200"),
    (r"A = \begin{pmatrix} 1+x \\ 2 \end{pmatrix}", r"\begin{pmatrix}x+1\\2\end{pmatrix}"),
]
OTHER = [
    ("(1,2)", "(2,1)"),
    ("[1,2)", "[1,2]"),
    ("1,2", "1,2,3"),
    ("1,2,2", "1,1,2"),
    ("1.3e-27", "2.9e-27"),
    ("0", "1.325e-27"),
    ("109891", "109890"),
    ("2^{1009}+1", "2^{1009}"),
    ("0.333", "1/3"),
    ("800%", "8%"),
    ("T", "t"),
    (r"\Omega", r"\omega"),
    ("2 I(0)", "I(0)"),
    ("n=3", "k=3"),
    ("SRMC=MR", "MR=SRAC"),
    ("x+1", "x-1"),
    ("", "5"),
    (r"x \notin [-2,7]", "[-2,7]"),
    (r"x \not\in [-2,7]", "[-2,7]"),
    (r"x \in (-2,7]", "[-2,7]"),
    (r"x \in [-2,7]", r"y \in [-2,7]"),
    (r"x \in [-2,7] \cap \mathbb{Z}", "[-2,7]"),
    (r"x \in A \cup C", r"A\cup B"),
    (r"x \in [-2,7], y\in [0,1]", "[-2,7]"),
    ("52", "52_8"),
    ("52_8", "52"),
    ("52_9", "52_8"),
    ("42", "52_8"),
    (r"52 \text{ (base 9)}", "52_8"),
    (r"52 \text{ (base 8)}", "52"),
    ("52 in base 8", "52"),
    ("101_2", "101_3"),
    ("53_8", "52_8"),
    ("1{,}23", "1234"),
    ("2a_3", "2a_4"),
    (r"\text{Rs. }50", "500"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \\ 0 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{vmatrix} 1&2\\3&4 \end{vmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
]


@pytest.fixture(scope="module")
def verdicts() -> dict[tuple[str, str], Graded]:
    pairs = [*SAME, *OTHER]
    return dict(zip(pairs, grade_all([item(*pair) for pair in pairs], num_workers=1), strict=True))


@pytest.mark.parametrize("pair", SAME, ids=str)
def test_an_answer_in_another_form_is_right(pair, verdicts) -> None:
    assert verdicts[pair] == Graded(extracted=pair[0], correct=True)


@pytest.mark.parametrize("pair", OTHER, ids=str)
def test_another_answer_is_wrong(pair, verdicts) -> None:
    assert not verdicts[pair].correct and verdicts[pair].problem is None


def test_unit_and_error_of_a_question_count() -> None:
    graded = grade_all(
        [
            item("4.25", "4.2", unit="%", error="1e-1"),
            item(r"4.2\%", "4.2", unit="%", error="1e-1"),
            item("4.4", "4.2", unit="%", error="1e-1"),
            item("4.25", "4.2"),
            item("166 cm^2", "166", unit="$cm^2$"),
        ]
    )
    assert [each.correct for each in graded] == [True, True, False, False, True]


def test_an_answer_that_would_never_end_costs_its_own_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    compare = workers.compare_all

    def compare_briefly(questions, **options):
        asked.extend(questions)
        return compare(questions, limit_seconds=1, **options)

    monkeypatch.setattr("otr.evaluation.grading.compare_all", compare_briefly)
    hostile = ["9^{9^{9^9}}", "(" * 900]
    reached = []
    graded = grade_all(
        [*(item(text, "n^2+1") for text in hostile), item("1+n^2", "n^2+1")],
        num_workers=2,
        progress=lambda done, num: reached.append((done, num)),
    )
    assert len(asked) >= len(hostile)
    assert [each.correct for each in graded] == [False] * len(hostile) + [True]
    assert graded[0].problem == workers.TIMED_OUT
    assert reached[-1] == (3, 3)


def test_no_worker_is_left_behind() -> None:
    worker = workers.Worker(limit_seconds=1)
    question = {"answer": "9^{9^{9^9}}", "reference": "2", "tolerance": 0.0, "absolute": 0.0}
    assert worker.ask(question)["problem"] == workers.TIMED_OUT
    assert worker.ask(question | {"answer": "1+1"})["correct"]
    process = worker._process
    worker.close()
    assert process is not None and process.returncode is not None


@pytest.mark.parametrize(
    "spam",
    ["(", r"\boxed{", "$", "$a ", r"\(", r"\[", "1,", "answer is ", "answer: (", " ", "and ",
     r"\text{", r"5\text{a}", "5 ab ", "**", "(A", "A.", "x^{", r"\frac", "-", "1.", "\n"],
)  # fmt: skip
def test_an_answer_is_found_behind_any_amount_of_nonsense(spam: str) -> None:
    # Were a search quadratic in the text, this would take minutes.
    text = spam * 10_000
    for find in (find_answer, chosen_letter, final_number, bbeh_answer, plain_answer):
        find(text)
    assert find_answer(f"{text}\n\\boxed{{5}}") == "5"
    assert chosen_letter(f"{text}\nThe answer is (C).") == "C"
    assert final_number(f"{text}\n it is 12") == "12"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{1}, no: \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{x \in \{1, 2\}} and \boxed{3", r"x \in \{1, 2\}"),
        (r"\fbox{7}", "7"),
        (r"\boxed 5", "5"),
        ("It is 4. Final answer: The final answer is $x^2$. I hope it is correct.", "x^2"),
        ("The answer is 3.5.", "3.5"),
        ("The answers are $69$ and $84$.", "69, 84"),
        ("**Answer:** 12 apples", "12 apples"),
        ("The answer is:\n$$\\frac{2}{3}$$", r"\frac{2}{3}"),
        ("We get 3.\n#### 1,234", "1,234"),
        ("First $a=2$.\nTherefore $b = 7$.", "b = 7"),
        ("so 12 or 13", "13"),
        ("I do not know", None),
        ("", None),
    ],
)
def test_an_answer_is_found_in_a_text(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


def test_only_balanced_boxes_count() -> None:
    assert boxed(r"\boxed{a{b}c}") == "a{b}c"
    assert boxed(r"\boxed{\text{left \{ brace}}") == r"\text{left \{ brace}"
    assert boxed(r"\boxed{never closed") is None


LETTERS = [
    ("The answer is (C).", "C"),
    ("the answer is C", "C"),
    ("Answer: **D**", "D"),
    (r"\boxed{B}", "B"),
    (r"\boxed{\text{(J)}}", "J"),
    (r"\boxed{B. the second}", "B"),
    ("The correct answer is: $A$", "A"),
    ("So the correct option is E because A is wrong.", "E"),
    ("(F)", "F"),
    ("G.", "G"),
    ("H) the eighth\nbecause it fits", "H"),
    ("First I thought the answer is A. But no, the answer is (I).", "I"),
    ("Not (A). Rather (B)", "B"),
    ("the answer is (c)", "C"),
    ("It must be D", "D"),
    ("The answer is a long story", None),
    ("I think it is a cat", None),
    ("A dog it is", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_the_chosen_letter_is_found(text: str, letter: str | None) -> None:
    assert chosen_letter(text) == letter


@pytest.mark.parametrize("letter", "ABCDEFGHIJ")
@pytest.mark.parametrize(
    "form",
    [
        "The answer is {} because it is hot.",
        "The answer is {} since it is hot.",
        "The correct option is {}, because it is hot.",
        "The answer is **{}** as shown.",
        "Answer: {}\n\nlight is fast",
        "Answer: {}\nlight is fast",
        "Answer:\n{}\nlight is fast",
        "{} is the correct answer",
        "Therefore {} is correct",
        "I choose {} because it is hot",
    ],
)
def test_letters_that_are_also_words_are_chosen_as_others_are(form: str, letter: str) -> None:
    assert chosen_letter(form.format(letter)) == letter


@pytest.mark.parametrize(
    "text",
    [
        "The answer is A long story",
        "Answer: I think so",
        "The answer: I believe it is not here",
        "Answer: A photon is absorbed",
        "A cat is the correct animal",
        "A is wrong here",
        "I am correct",
        "the answer is a\nlong story",
        "Answer: I was not sure",
        "A given set",
    ],
)
def test_the_words_a_and_i_choose_nothing(text: str) -> None:
    assert chosen_letter(text) is None


@pytest.mark.parametrize("letter", "ABCDEFGHIJ")
def test_each_letter_is_right_and_every_other_is_wrong(letter: str) -> None:
    for form in ("The answer is ({}).", r"\boxed{{{}}}", "Answer: {}", "{}"):
        for other in "ABCDEFGHIJ":
            assert grade(form.format(other), letter, "mmlu_pro") == (other == letter)


@pytest.mark.parametrize(
    ("output", "reference", "correct"),
    [
        ("Let me think. The answer is: 42", "42", True),
        ("The answer is: 42.", "42", True),
        ("The answer is: (a)", "A", True),
        ("The final answer is b", "(B)", True),
        ("The answer is: **Yes**\nfor sure", "yes", True),
        (r"The answer is: $\boxed{3.0}$", "3", True),
        ("The answer is: 1, 2, 3", "[1,2,3]", True),
        ("The answer is: don't", "dont", True),
        ("The answer is: why?", "why", True),
        ("The answer is: no", "yes", False),
        ("The answer is: (c)", "(b)", False),
        ("The answer is: 43", "42", False),
        ("", "42", False),
    ],
)
def test_bbeh_s_rule(output: str, reference: str, correct: bool) -> None:
    answer, wanted = bbeh_answer(output), bbeh_reference(reference)
    assert (answer is not None and wanted is not None and same_in_bbeh(answer, wanted)) == correct
    assert grade(output, reference, "bbeh") == correct


def test_grade_takes_every_benchmark_by_name() -> None:
    assert grade(r"\boxed{\frac{2}{4}}", r"so $\boxed{0.5}$", "math500")
    assert grade("The answer is $1+n$.", "n+1", "olympiadbench=somewhere.jsonl")
    assert not grade("The answer is $2+n$.", "n+1", "olympiadbench")
    assert grade("It is 5.\n\nProblem:\nWhat is 2?\n\nSolution:\nIt is 2.", "5", "amc23")
    with pytest.raises(UserError, match="run only by `otr eval`.*with --run-code"):
        grade("return 1", "return 1", "humaneval")
    with pytest.raises(UserError, match="holds no answer"):
        grade("1", " ", "math500")


def test_code_that_is_not_run_is_said_to_be_so() -> None:
    (graded,) = grade_all([item("return 1", "return 1", rule="code")])
    assert graded == Graded(extracted=None, correct=False, problem="code not run")


def test_without_math_verify_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    assert grade_all([item("5", "5")])[0].correct
    with pytest.raises(UserError, match=re.escape(install_words("eval"))):
        grade_all([item("x+1", "1+x")])


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
def test_real_references_are_right_however_said_and_wrong_when_changed() -> None:
    # `python -m reliability grading` tries them all.
    made = list(cases(load(), every=16))
    graded = grade_all([as_item(case) for case in made], num_workers=2)
    wrong = [
        (case.question.id, case.kind, case.output[-80:], found)
        for case, found in zip(made, graded, strict=True)
        if found.correct != case.correct
    ]
    assert len(made) > 1000
    assert not wrong


def test_a_forked_process_does_not_share_the_worker_of_the_one_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Worker:
        """Says whether it is asked by the process that began it."""

        def __init__(self) -> None:
            self.beginner = os.getpid()

        def ask(self, question: dict[str, Any]) -> dict[str, Any]:
            return {"correct": os.getpid() == self.beginner, "problem": None}

        def close(self) -> None:
            """There is nothing to end."""

    monkeypatch.setattr(workers, "Worker", Worker)
    monkeypatch.setattr(workers, "_single", threading.local())
    assert workers.compare_one({})["correct"]
    first = workers._single.worker
    child = os.fork()
    if child == 0:
        os._exit(0 if workers.compare_one({})["correct"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert workers.compare_one({})["correct"] and workers._single.worker is first
