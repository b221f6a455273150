"""Scores of graded answers: accuracy with its interval, and pass@k when answers were sampled."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from otr.evaluation.statistics import wilson_interval


def score(correct: list[list[bool]]) -> dict[str, Any]:
    """Accuracy of graded answers, one inner list a question, all of one length k.

    accuracy      mean over questions of the share of right answers
    n             the number of questions
    interval_95   for k = 1 Wilson's interval for n questions; above, `clustered_interval`
    avg_at_k      for k > 1: {k: accuracy}
    pass_at_k     for k > 1: {j: chance that one of j answers is right} for j = 1, 2, 4, … k
    """
    num_samples = len(correct[0])
    assert all(len(answers) == num_samples for answers in correct)
    accuracy = sum(map(sum, correct)) / (len(correct) * num_samples)
    scores: dict[str, Any] = {
        "accuracy": accuracy,
        "n": len(correct),
        "interval_95": list(clustered_interval(correct)),
    }
    if num_samples > 1:
        sizes = [2**power for power in range(num_samples.bit_length()) if 2**power < num_samples]
        scores["avg_at_k"] = {str(num_samples): accuracy}
        scores["pass_at_k"] = {
            str(k): sum(pass_at_k(num_samples, sum(answers), k) for answers in correct)
            / len(correct)
            for k in [*sizes, num_samples]
        }
    return scores


def scores_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The scores of some rows of answers.jsonl, with those of each category where there are
    several; how many answers were cut short, and what kept how many from being graded."""
    scores = score(_by_question(rows))
    scores["num_truncated"] = sum(row["truncated"] for row in rows)
    scores["problems"] = dict(Counter(row["problem"] for row in rows if row.get("problem")))
    categories = list(dict.fromkeys(row["category"] for row in rows))
    if len(categories) > 1:
        scores["categories"] = {
            category: score(_by_question([row for row in rows if row["category"] == category]))
            for category in categories
        }
    return scores


def _by_question(rows: Sequence[dict[str, Any]]) -> list[list[bool]]:
    correct: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        correct.setdefault((row["benchmark"], row["id"]), []).append(row["correct"])
    return list(correct.values())


def clustered_interval(correct: list[list[bool]]) -> tuple[float, float]:
    """The 95 % interval of the accuracy over new questions, answers being clustered by question.

    s_q = share of right answers to question q;  v = sum_q (s_q - mean s)² / (n - 1) / n

    √v is the standard error of the mean of the clusters. The interval is Wilson's for the number
    of questions p (1 - p) / v that would say as much if each were answered once: it is never
    narrower than that of n k independent answers, keeps within 0 and 1, and for one answer a
    question it is Wilson's for n. Where all answers are right, or none, it is that for n as well.

    Source: Adding Error Bars to Evals, arXiv:2411.00640, section 2.2, for the standard error.
    """
    shares_Q = np.array([sum(answers) / len(answers) for answers in correct])
    num_questions, num_answers = len(correct), len(correct) * len(correct[0])
    mean = float(shares_Q.mean())
    effective = float(num_questions)
    if num_answers > num_questions > 1 and 0 < mean < 1:
        squared = float(shares_Q.var(ddof=1)) / num_questions
        most = float(num_answers)
        effective = min(most, mean * (1 - mean) / squared) if squared > 0 else most
    return wilson_interval(mean, effective)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased chance that at least one of k answers is right, given n drawn and c right.

    1 - C(n - c, k) / C(n, k)

    Source: Evaluating Large Language Models Trained on Code, arXiv:2107.03374.
    """
    assert 1 <= k <= num_samples
    return 1 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)
