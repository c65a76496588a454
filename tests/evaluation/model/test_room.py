"""The cache that a decoder writes into in place: what it shows is what a cache that copies would hold."""

import pytest
import torch

from clmeeval_data.evaluation.model import generate as generation
from clmeeval_data.evaluation.model import room
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.model.room import RoomyLayer

PROMPTS = ["Intent: sort the list\nCode:", "x", "Intent: a much longer intent, with `names` and 'texts'\nCode:"]


def states(rows, tokens, seed):
    return torch.randn(rows, 2, tokens, 3, generator=torch.Generator().manual_seed(seed))


def test_a_layer_shows_all_that_was_written(monkeypatch):
    monkeypatch.setattr(room, "ROOM", 2)
    keys, values = states(4, 5, 0), states(4, 5, 1)
    layer = RoomyLayer(keys, values)
    for step in range(7):
        new = states(4, 1 + step % 3, 2 + step), states(4, 1 + step % 3, 20 + step)
        keys, values = torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        shown = layer.update(*new)
        assert torch.equal(shown[0], keys)
        assert torch.equal(shown[1], values)
        assert layer.get_seq_length() == keys.shape[2]


def test_the_given_states_are_not_written_into():
    keys = states(2, 5, 0)
    view, before = keys[:, :, :3], keys.clone()
    layer = RoomyLayer(view, view)
    layer.update(states(2, 1, 1), states(2, 1, 2))
    assert torch.equal(keys, before)


def test_a_row_that_is_done_gives_its_place_to_the_last_one():
    keys, new = states(5, 4, 0), states(3, 1, 1)
    layer = RoomyLayer(keys, keys)
    layer.move(torch.tensor([1, 2]), torch.tensor([3, 4]), 3)
    layer.update(new, new)
    assert torch.equal(layer.keys, torch.cat([keys[[0, 3, 4]], new], 2))


@pytest.mark.parametrize("share", [0.0, 0.7, 2.0], ids=["moves alone", "both", "copies alone"])
def test_rows_that_end_at_different_lengths_do_not_disturb_the_others(lm, monkeypatch, share):
    """Against every text generated alone, greedy and sampled; the longest of them outgrows the room."""
    monkeypatch.setattr(generation, "COMPACT_BELOW", share)
    monkeypatch.setattr(room, "ROOM", 4)
    prefix, unedited = read_prompts(lm, PROMPTS), [Edit((), lm.fingerprint, "none")]
    jobs = [Continuation(row % 3, 0, tokens) for row, tokens in enumerate([9, 1, 4, 12, 2, 6, 3, 17])]
    jobs += [Continuation(row, 0, 5 * row + 3, sampling=Sampling(row + 2, f"seed {row}")) for row in range(3)]
    assert generate(lm, prefix, unedited, jobs) == [generate(lm, prefix, unedited, [job])[0] for job in jobs]
