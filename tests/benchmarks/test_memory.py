"""Peak memory of a head, measured in a process of its own."""

from benchmarks.cases import Case
from benchmarks.memory import peak_memory

_MIB = 2**20


def test_full_logits_cost_a_few_arrays_of_logits() -> None:
    case = Case(name="logits", rows=1024, width=8, vocabulary=16384)
    found = peak_memory(case, "full logits", threads=1)
    logits_bytes = 4 * case.rows * case.vocabulary
    assert found["weight_gradient_bytes"] == 4 * case.vocabulary * case.width
    assert 2 * logits_bytes < found["peak_bytes"] < 6 * logits_bytes


def test_a_head_that_fails_in_its_process_is_skipped() -> None:
    case = Case(name="no CUDA", rows=4, width=8, vocabulary=600)
    assert peak_memory(case, "Liger", threads=1) == {
        "skipped": "Liger's head needs CUDA and Triton"
    }
