"""The regimes of the embedded comparison, and the files they write."""

from pathlib import Path

from otr.demo import base_model_folder, training_data
from otr.demo.regimes import REGIMES, SEEDS, data_section, write_demonstrations
from otr.runs import read_jsonl


def test_every_regime_writes_the_demonstrations_it_names(tmp_path: Path) -> None:
    right = {}
    for regime in REGIMES:
        assert base_model_folder(regime.model) is not None
        for seed in SEEDS:
            path = tmp_path / f"{regime.name}-{seed}.jsonl"
            write_demonstrations(regime, seed, path)
            rows = list(read_jsonl(path))
            assert len(rows) == len({row["prompt"] for row in rows}) == 256
            wrong = 0
            for row in rows:
                first, second = row["prompt"][len("add ") : -len(" :")].split(" and ")
                total = int(first.replace(" ", "")) + int(second.replace(" ", ""))
                right[row["prompt"]] = " ".join(str(total))
                wrong += not row["completion"].endswith(f"ans {right[row['prompt']]} .")
            assert wrong == round(256 * regime.wrong_share)


def test_seeds_have_data_of_their_own(tmp_path: Path) -> None:
    sets = []
    for seed in SEEDS:
        write_demonstrations(REGIMES[0], seed, tmp_path / str(seed))
        sets.append({row["prompt"] for row in read_jsonl(tmp_path / str(seed))})
    assert not (sets[0] <= sets[1] | sets[2])


def test_the_separator_makes_the_text_the_base_was_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.jsonl"
    write_demonstrations(REGIMES[0], 0, path)
    section = data_section(path)
    row = next(read_jsonl(path))
    problem = training_data.demonstrations(
        REGIMES[0].style,
        num_demonstrations=256,
        wrong_share=REGIMES[0].wrong_share,
        seed=0,
    )[0]
    text = row[section["prompt"]] + section["separator"] + row[section["completion"]]
    assert text == problem.text
