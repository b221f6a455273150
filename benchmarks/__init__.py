"""What the head costs, against three bare matrix products and against other heads.

    python -m benchmarks --quick     within three minutes, at small sizes
    python -m benchmarks             about 25 minutes on one CPU thread
    python -m benchmarks.readme      the README's table from the results

One process; the heads of a case take turns, a call each a round, and ratios are made within a
round, so that a machine that slows down slows all of them. Run from the root of the repository.

plan.py        what is measured            cases.py      a case and its inputs
heads.py       ours and the others         measuring.py  rounds, and ratios from them
accuracy.py    gradients against float64   memory.py     peak memory, a process a head
states.py      states of trained models    texts.py      what they are trained on
steps.py       whole training steps        targets.py    what was aimed at, and reached
picture.py     table.py     readme.py      machine.py    what it ran on
"""
