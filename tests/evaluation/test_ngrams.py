"""Texts are found in other texts, against a definition with sets of words."""

import random
import weakref

import pytest

from otr.evaluation.ngrams import Scan, Wanted, words_of

QUESTION = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes "
    "muffins for her friends every day with four. How many does she sell at the market?"
)
SHORT_QUESTION = "Compute $\\sin 60^\\circ$."


def scanned(texts, rows, **settings):
    scan = Scan([Wanted(text=text, **settings) for text in texts])
    for number, parts in enumerate(rows):
        scan.read(f"row {number}", parts)
    scan.finish()
    return scan


def windows(words, size):
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def defined(text, rows):
    """(most covered words, is copied, shares 13), from the docstring's words."""
    words, covered, copied, shares = words_of(text), 0, False, False
    for parts in rows:
        read = [words_of(part) for part in parts]
        eights = {w for each in read for w in windows(each, 8)}
        found = {i + k for i, w in enumerate(windows(words, 8)) if w in eights for k in range(8)}
        covered = max(covered, len(found))
        if len(words) >= 4:
            copied |= any(tuple(words) in windows(each, len(words)) for each in read)
        thirteens = {w for each in read for w in windows(each, 13)}
        shares |= any(w in thirteens for w in windows(words, 13))
    return covered, copied, shares


def test_a_scan_finds_what_sets_of_words_find() -> None:
    rng = random.Random(0)
    # Few words, so that stretches come back; texts of 0 to 40, some cut out of the rows.
    rows = [
        [" ".join(rng.choices(["ab", "cd", "efg"], k=rng.randrange(60))) for _ in range(2)]
        for _ in range(60)
    ]
    texts = [" ".join(rng.choices(["ab", "cd", "efg"], k=rng.randrange(40))) for _ in range(80)]
    for _ in range(50):
        words = rng.choice(rows)[0].split()
        start = rng.randrange(20)
        texts.append(" ".join(words[start : start + rng.randrange(3, 30)]))
    scan = scanned(texts, rows, any_number=False)
    kinds = set()
    for number, text in enumerate(texts):
        covered, copied, shares = defined(text, rows)
        match = scan.matches.get(number)
        kinds.add((covered > 0, copied, shares))
        assert bool(scan.overlapping_N[number]) == shares, text
        assert (match is not None and match.is_copy) == copied, text
        if match is not None and not copied:
            assert match.num_words == covered, text
        if match is None:
            assert covered == 0, text
    assert len(kinds) >= 5


@pytest.mark.parametrize(
    "row",
    [
        QUESTION,
        f"Solve this.\n\n{QUESTION}\n\nThink first.",
        QUESTION.upper(),
        QUESTION.replace(" ", " \n\t "),
        QUESTION.replace(".", " !!").replace("'", "’"),
        QUESTION.replace("ducks", "ｄucks"),
    ],
)
def test_a_question_is_copied_in_any_case_blanks_and_punctuation(row: str) -> None:
    match = scanned([QUESTION], [["nothing"], [row]]).matches[0]
    assert match.is_copy and match.origin == "row 1"
    assert match.excerpt.casefold().startswith("janet")


def test_another_number_makes_it_near_and_no_copy() -> None:
    row = QUESTION.replace("16", "20")
    scan = scanned([QUESTION], [[row]])
    assert not scan.matches[0].is_copy
    assert scan.matches[0].num_words == scan.lengths_N[0]
    strict = scanned([QUESTION], [[row]], any_number=False)
    assert strict.matches[0].num_words < strict.lengths_N[0]


def test_sums_with_other_numbers_are_not_alike() -> None:
    text = "What is 1 + 4 + 9 + 16 + 25 + 36 + 49 + 64 + 81 + 100 + 121 + 144?"
    assert not scanned([text], [["So 7 + 3 + 2 + 5 + 6 + 8 + 9 + 4 + 1 + 2 + 3 + 4 + 5"]]).matches
    assert scanned([text], [["Now 1 + 4 + 9 + 16 + 25 + 36 + 49 + 64"]]).matches


def test_short_questions_are_found_as_a_whole_and_the_shortest_not_at_all() -> None:
    texts = [SHORT_QUESTION, "Find $x$."]
    scan = scanned(texts, [["Find x. Then compute sin 60 circ, please"]])
    assert scan.matches[0].is_copy and 1 not in scan.matches
    assert not scanned(texts, [["Compute sin 45 circ"], ["compute sin", "60 circ"]]).matches


def test_no_stretch_goes_from_one_part_or_row_to_the_next() -> None:
    words = QUESTION.split()
    halves = [" ".join(words[:6]), " ".join(words[6:12])]
    assert not scanned([" ".join(words[:12])], [halves]).matches
    assert not scanned([" ".join(words[:12])], [[half] for half in halves]).matches


def test_the_row_with_most_of_the_words_is_kept_and_a_copy_before_all() -> None:
    words = QUESTION.split()
    part, other = " ".join(words[:20]), QUESTION.replace("16", "20")
    assert scanned([QUESTION], [[part], [other], [part]]).matches[0].origin == "row 1"
    found = scanned([QUESTION], [[other], [QUESTION], [other]]).matches[0]
    assert found.is_copy and found.origin == "row 1"


def test_rows_are_not_held() -> None:
    class Text(str):
        pass

    alive: list[weakref.ref[Text]] = []
    scan = Scan([Wanted(text=QUESTION)])
    most = 0
    for _ in range(40):
        text = Text("many words that are not looked for " * 1000)
        alive.append(weakref.ref(text))
        scan.read("a row", [text])
        del text
        most = max(most, sum(each() is not None for each in alive))
    assert scan.num_words == 40 * 7_000
    assert most < 15
