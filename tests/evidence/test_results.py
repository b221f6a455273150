"""The committed study: complete, and the document is what its files say."""

from typing import Any

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
    def differences(name: str, *words: Any) -> dict[str, Any]:
        return {m["label"]: m["difference"] for m in results(name, *words)["methods"]}

    weak = differences("weak-clean")
    assert weak["OTR"]["in_domain"]["interval_95"][1] < 0
    assert weak["GRPO (max_seconds=30)"]["in_domain"]["interval_95"][1] < 0
    # Ahead of SFT at a rate that is too large for both, and no more so at each one's best.
    too_large = differences("strong-unfamiliar", None, 1e-4)
    assert too_large["OTR"]["in_domain"]["mean"] > 0.7
    assert not differences("strong-unfamiliar")["OTR"]["in_domain"]["distinguishable"]
    dft, otr = {"name": "dft"}, {"name": "otr"}
    for case in CASES:
        (found,) = results(case.regime.name, [dft, otr])["methods"][1:]
        ahead = found["difference"]["in_domain"]["distinguishable"]
        assert ahead == (case.regime.name == "weak-clean")
    settings = differences("weak-clean", [otr, {"name": "otr", "temperature": 1.0}])
    assert settings["OTR (temperature=1)"]["in_domain"]["interval_95"][1] < 0
