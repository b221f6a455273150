"""The committed study: complete, and the document is what its files say."""

import pytest

from evidence.files import read_results
from evidence.plan import CASES, LEARNING_RATES, SEEDS
from evidence.report import DOCUMENT, document, results


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.regime.name)
def test_every_planned_run_is_there_or_reported_as_failed(case) -> None:  # type: ignore[no-untyped-def]
    header, rows = read_results(case.regime.name)
    num_rates = sum(len(each.get("learning_rates", LEARNING_RATES)) for each in case.methods)
    assert len(rows) + len(header["failed"]) == num_rates * len(SEEDS)


def test_the_document_is_what_the_files_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_the_document_s_claims_hold() -> None:
    methods = {m["label"]: m["difference"] for m in results("weak-clean")["methods"]}
    assert methods["OTR"]["in_domain"]["interval_95"][1] < 0
    methods = {m["label"]: m["difference"] for m in results("strong-unfamiliar")["methods"]}
    assert methods["OTR"]["retention"]["interval_95"][0] > 0
    assert methods["OTR (floor=0.1)"]["in_domain"]["mean"] < 0
