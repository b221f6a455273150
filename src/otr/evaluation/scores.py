"""Scores of graded answers: accuracy with its interval, and pass@k when answers were sampled."""

import math
from typing import Any

from otr.evaluation.statistics import wilson_interval


def score(correct: list[list[bool]]) -> dict[str, Any]:
    """Accuracy of graded answers, one inner list a question, all of one length k.

    accuracy      mean over questions of the share of right answers
    n             the number of questions
    interval_95   Wilson interval of `accuracy` for n questions: exact in meaning for k = 1,
                  somewhat wide above, as the answers to one question are not independent
    avg_at_k      for k > 1: {k: accuracy}
    pass_at_k     for k > 1: {j: chance that one of j answers is right} for j = 1, 2, 4, … k
    """
    num_samples = len(correct[0])
    assert all(len(answers) == num_samples for answers in correct)
    accuracy = sum(map(sum, correct)) / (len(correct) * num_samples)
    scores: dict[str, Any] = {
        "accuracy": accuracy,
        "n": len(correct),
        "interval_95": list(wilson_interval(accuracy, len(correct))),
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


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased chance that at least one of k answers is right, given n drawn and c right.

    1 - C(n - c, k) / C(n, k)

    Source: Evaluating Large Language Models Trained on Code, arXiv:2107.03374.
    """
    assert 1 <= k <= num_samples
    return 1 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)
