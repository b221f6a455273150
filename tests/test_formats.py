"""How numbers are written."""

from otr.formats import p_text, points, rate_text, with_minus


def test_a_p_value_is_never_rounded_across_five_percent() -> None:
    assert [p_text(value) for value in (0.05002, 0.05, 0.0499999, 0.0504, 0.0593, 0.5, 1e-15)] == [
        "0.05002", "0.05", "0.05", "0.0504", "0.059", "0.5", "< 0.0001",
    ]  # fmt: skip


def test_a_learning_rate_is_written_one_way() -> None:
    rates = (1e-4, 2.5e-5, 0.0016, 5e-6, 1.0, 3e-3)
    assert [rate_text(rate) for rate in rates] == [
        "1e-4", "2.5e-5", "1.6e-3", "5e-6", "1e0", "3e-3",
    ]  # fmt: skip


def test_a_difference_has_a_true_minus_and_nothing_has_no_sign() -> None:
    written = [points(share, signed=True) for share in (0.0634, -0.0118, 0.0004, -0.0004, 0.0)]
    assert written == ["+6.3", "\u22121.2", "0.0", "0.0", "0.0"]
    assert [with_minus(text) for text in ("-0.1", "a-b", "-", "1e-4")] == [
        "\u22120.1", "a-b", "-", "1e-4",
    ]  # fmt: skip
