"""One colour and mark a method, in every figure."""

from itertools import product

from benchmarks.picture import look_of_head
from otr.objectives import ALL
from otr.report.looks import look_of, looks_of


def test_a_method_looks_the_same_whatever_it_is_compared_with() -> None:
    three = looks_of(["sft", "dft", "otr"], ["SFT", "DFT", "OTR"])
    two = looks_of(["otr", "sft"], ["runs/otr", "runs/sft"])
    assert two == [three[2], three[0]] == [look_of("otr"), look_of("sft")]
    assert look_of_head("OTR")[:2] == (look_of("otr").colour, look_of("otr").mark)
    assert look_of_head("SFT")[:2] == (look_of("sft").colour, look_of("sft").mark)


def test_variants_keep_the_colour_and_the_plain_one_its_mark() -> None:
    labels = ["OTR (exact)", "OTR", "OTR (floor=0.1)"]
    exact, plain, floor = looks_of(["otr"] * 3, labels)
    assert plain == look_of("otr")
    assert exact.colour == plain.colour == floor.colour
    assert len({exact.mark, plain.mark, floor.mark}) == 3


def test_no_two_methods_look_alike() -> None:
    names = [kind.name for kind in ALL] + ["grpo", "my_module:Mine"]
    objectives = [name for name, _ in product(names, range(4))]
    labels = [f"{name} ({number})" for name, number in product(names, range(4))]
    looks = looks_of(objectives, labels)
    assert len(set(looks)) == len(looks) == 4 * len(names)
