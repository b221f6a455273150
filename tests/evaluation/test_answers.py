"""The answer rules: the embedded tasks' and GSM8K's."""

import json
from pathlib import Path

import pytest

from otr.errors import UserError
from otr.evaluation import grade
from otr.evaluation.answers import final_number, last_symbols
from otr.evaluation.mathematics import find_answer

GSM8K = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k" / "test.jsonl"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("so it costs $1,080.50", "1080.5"),
        ("#### 1,000,000", "1000000"),
        ("She has 3 of 12.00 left.", "12"),
        ("The answer is 7.", "7"),
        ("x = -5", "-5"),
        ("x = \u22125", "-5"),
        ("it fell to -$4.50", "-4.5"),
        ("7-3", "3"),
        ("pages 3-4", "4"),
        ("- 18 apples", "18"),
        ("half is .5", "0.5"),
        ("#### -0", "0"),
        ("#### 007", "7"),
        ("#### 100", "100"),
        ("25% of 80 is 20%", "20"),
        (r"\boxed{42}", "42"),
        ("3, 4", "4"),
        (r"It costs 1{,}234 dollars", "1234"),
        (r"#### \$1{,}234{,}567.50", "1234567.5"),
        (r"1\,234", "1234"),
        ("1\u202f234 and 1'500", "1500"),
        ("#### 1\u202f234", "1234"),
        (r"it fell to -\$4", "-4"),
        ("-\u20b95", "-5"),
        ("1.5e3", "1500"),
        ("in 2019\u00a0300 birds", "300"),
        (r"of 1{,}23", "23"),
        ("2e", "2"),
        (r"(5,\ 100)", "100"),
        (r"1,\!234", "1234"),
        ("no number", None),
        ("", None),
    ],
)
def test_the_final_number_is_written_plainly(text: str, number: str | None) -> None:
    assert final_number(text) == number


def test_what_comes_after_the_marked_answer_does_not_count() -> None:
    assert final_number("2 + 2 = 4\n#### 4\n\nNext: 9 birds.\n#### 9") == "4"
    assert final_number("#### 18 dollars in 3 days") == "18"
    assert final_number("it is 6\n####") == "6"


@pytest.mark.parametrize(
    ("text", "number", "answer"),
    [
        ("#### Step 1\n2 + 3 = 5\n#### Step 2\n5 + 5 = 10\n#### 10", "10", "10"),
        ("#### Step 1: add 3\nso 5\n#### Answer\n42", "42", "42"),
        ("#### Step 1\nso 5\n#### **Final Answer: 42**", "42", "42"),
        ("#### Step 1\nso 5", "5", "5"),
        ("#### 1. Add up 3 and 4\nso 7\n#### 2. Double\nso 14\n#### 14", "14", "14"),
        ("#### Total of 3 boxes\nso 5\n#### Cost of 2\nso 12", "12", "12"),
        ("#### She has 18\n\nNext: 9", "18", "She has 18"),
        ("##### 7", "7", "7"),
        ("#### Step 1\nso 5\n#### 10\n\nNext: 8\n#### Step 1\n#### 9", "10", "10"),
    ],
)
def test_headings_in_markdown_are_not_the_marked_answer(
    text: str, number: str, answer: str
) -> None:
    assert final_number(text) == number
    assert find_answer(text) == answer


@pytest.mark.parametrize(
    ("output", "symbols"),
    [
        (" 3 + 8 = 1 1 ; 8 + 4 + 1 = 1 3 ; ans 1 3 1 .", "1 3 1"),
        ("ans 7 . ans 8 .", "7"),
        ("1 3 1", "1 3 1"),
        ("ans  a b\tc .", "a b c"),
        ("3 + 8 = 1 1 ; ans 1 3 1", None),
        ("3 + 8 = 1 1 ; 8 + 4", None),
        ("ans .", None),
        ("ans 13 .", None),
        ("", None),
    ],
)
def test_the_symbols_after_ans_are_the_answer(output: str, symbols: str | None) -> None:
    assert last_symbols(output) == symbols


def test_a_right_answer_is_right_and_a_wrong_one_wrong() -> None:
    assert grade("so 5 ; ans 1 3 1 .", "1 3 1", "demo")
    assert grade("ans 1 3 1 .", "1 3 1", "demo/in_domain")
    assert not grade("ans 1 3 .", "1 3 1", "demo")
    assert not grade("", "1 3 1", "demo")
    assert grade("She makes $18.", "9 * 2 = 18\n#### 18", "gsm8k")
    assert grade("#### 1,200.0", "1200", "gsm8k=somewhere.jsonl")
    assert not grade("#### 19", "#### 18", "gsm8k")
    assert not grade("no idea", "#### 18", "gsm8k")


def test_an_unknown_benchmark_is_named_with_the_nearest_known() -> None:
    with pytest.raises(UserError, match="'gms8k' is not known; did you mean 'gsm8k'"):
        grade("1", "1", "gms8k")


def test_a_reference_without_an_answer_is_refused() -> None:
    with pytest.raises(UserError, match="holds no answer"):
        grade("1", "none", "gsm8k")


@pytest.mark.skipif(not GSM8K.is_file(), reason="the shared data folder is not beside the project")
def test_every_gsm8k_reference_is_right_and_one_more_is_wrong() -> None:
    with open(GSM8K, encoding="utf-8") as file:
        references = [json.loads(line)["answer"] for line in file]
    assert len(references) == 1319
    for reference in references:
        number = final_number(reference)
        assert number is not None
        assert number == reference.rsplit("####", 1)[1].strip().replace(",", "")
        assert grade(reference, reference, "gsm8k")
        assert grade(f"The answer is ${number}.00.", reference, "gsm8k")
        assert not grade(f"#### {int(number) + 1}", reference, "gsm8k")
        assert not grade(f"#### {number}0", reference, "gsm8k") or number == "0"
