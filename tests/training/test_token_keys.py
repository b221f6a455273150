"""The identity of a token: its sequence up to it, and nothing else."""

import torch

from otr.training.token_keys import step_seed, token_keys


def test_a_key_depends_on_the_sequence_up_to_the_token_and_on_nothing_else() -> None:
    rows = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 1, 9], [6, 5, 7, 8, 9]])
    keys = token_keys(rows)
    assert torch.equal(keys[0, :3], keys[1, :3])
    assert (keys[0, 3:] != keys[1, 3:]).all()
    # The same words in another order are another sequence.
    assert (keys[0] != keys[2]).all()
    assert torch.equal(token_keys(rows[:, :2]), keys[:, :2])


def test_padding_on_either_side_changes_no_key() -> None:
    row = torch.tensor([[5, 6, 7]])
    keys = token_keys(row)
    right = token_keys(torch.tensor([[5, 6, 7, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]]))
    left = token_keys(torch.tensor([[0, 0, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1, 1]]))
    assert torch.equal(right[:, :3], keys) and torch.equal(left[:, 2:], keys)


def test_packed_sequences_have_the_keys_they_have_alone() -> None:
    packed = token_keys(
        torch.tensor([[5, 6, 7, 5, 6, 9, 9]]), positions_NL=torch.tensor([[0, 1, 2, 0, 1, 0, 1]])
    )
    alone = [token_keys(torch.tensor([row])) for row in ([5, 6, 7], [5, 6], [9, 9])]
    assert torch.equal(packed, torch.cat(alone, 1))


def test_keys_are_spread_over_all_bits() -> None:
    rows = torch.randint(0, 50, (200, 300), generator=torch.Generator().manual_seed(0))
    keys = token_keys(rows).flatten().unique()
    bits = (keys[:, None] >> torch.arange(64)) & 1
    assert (bits.double().mean(0) - 0.5).abs().max() < 0.02
    assert len(keys) > 0.95 * rows.numel()


def test_every_step_and_seed_has_its_own_rollouts() -> None:
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(-1, 200)}
    assert len(seeds) == 20 * 201 and all(0 <= seed < 2**64 for seed in seeds)
