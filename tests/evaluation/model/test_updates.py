import pytest
import torch

import clmeeval_data.evaluation.model.updates as updates_module
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank, combined, stacked_change


def book(*keys, radius=1.0, label=(1,)):
    keys = torch.tensor(keys, dtype=torch.float32)
    values = torch.arange(len(keys) * 2, dtype=torch.float32).reshape(-1, 2)
    return Codebook("m", keys, values, torch.full((len(keys),), radius), (label,) * len(keys))


def test_far_requests_become_entries_of_their_own():
    grown = book([0.0, 0.0]).insert(torch.tensor([2.1, 0.0]), torch.ones(2), 1.0, (2,))
    assert grown.radii.tolist() == [1.0, 1.0]
    assert grown.labels == ((1,), (2,))
    assert grown.keys[1].tolist() == pytest.approx([2.1, 0.0])


def test_a_near_request_for_the_same_answer_grows_the_radius():
    grown = book([0.0, 0.0]).insert(torch.tensor([1.9, 0.0]), torch.ones(2), 1.0, (1,))
    assert len(grown.labels) == 1
    assert float(grown.radii[0]) == pytest.approx(1.9)
    assert grown.insert(torch.tensor([0.1, 0.0]), torch.ones(2), 1.0, (1,)).radii.tolist() == grown.radii.tolist()


def test_a_near_request_for_another_answer_splits_the_distance():
    grown = book([0.0, 0.0]).insert(torch.tensor([1.0, 0.0]), torch.ones(2), 1.0, (2,))
    assert float(grown.radii[1]) == 0.5
    assert 0.499 < float(grown.radii[0]) < 0.5


def test_labels_with_the_same_mean_id_are_different_answers():
    grown = book([0.0, 0.0], label=(1, 3)).insert(torch.tensor([1.0, 0.0]), torch.ones(2), 1.0, (2, 2))
    assert grown.labels == ((1, 3), (2, 2))


def test_adding_codebooks_inserts_the_later_entries_one_by_one():
    first, later = book([0.0, 0.0]), book([5.0, 0.0], [5.5, 0.0])
    assert first.plus(later).keys.tolist() == [[0.0, 0.0], [5.0, 0.0]], "the third is near the second, same answer"


def test_combined_keeps_one_update_of_a_kind_for_a_module():
    torch.manual_seed(0)
    low = [LowRank("a", torch.randn(3, 1), torch.randn(1, 4)) for _ in range(2)]
    dense = [Dense("a", torch.randn(3, 4)), Dense("b", torch.randn(3, 4))]
    found = combined([low[0], dense[0]], [low[1], dense[1]])
    assert [(type(one), one.module) for one in found] == [(LowRank, "a"), (Dense, "a"), (Dense, "b")]
    torch.testing.assert_close(found[0].delta(), low[0].delta() + low[1].delta())


@pytest.mark.parametrize("kind", ["low rank", "dense"])
def test_a_stack_of_weight_updates_is_each_row_under_its_own_weight(kind):
    torch.manual_seed(0)
    if kind == "dense":
        updates = [Dense("m", torch.randn(3, 4)), None, Dense("m", torch.randn(3, 4))]
    else:
        updates = [
            LowRank("m", torch.randn(3, 2), torch.randn(2, 4)),
            None,
            LowRank("m", torch.randn(3, 1), torch.randn(1, 4)),
        ]
    change = stacked_change(updates, torch.device("cpu"), torch.float32)
    weight, inputs, rows = torch.randn(3, 4), torch.randn(5, 6, 4), torch.tensor([2, 0, 1, 0, 2])
    changed = change(inputs, inputs @ weight.T, rows, None)
    for row, edit in enumerate(rows.tolist()):
        delta = 0 if updates[edit] is None else updates[edit].delta()
        torch.testing.assert_close(changed[row], inputs[row] @ (weight + delta).T)


@pytest.mark.parametrize("gathered", [1, 200, 1 << 26])
def test_low_rank_updates_of_any_rank_stand_side_by_side(gathered, monkeypatch):
    """In parts of any size: what is brought together at once is bounded, whatever the ranks and rows."""
    monkeypatch.setattr(updates_module, "GATHERED", gathered)
    torch.manual_seed(0)
    ranks = [40, 1, 17, 0]
    updates = [LowRank("m", torch.randn(5, rank), torch.randn(rank, 7)) for rank in ranks]
    change = stacked_change(updates, torch.device("cpu"), torch.float64)
    inputs, rows = torch.randn(9, 3, 7, dtype=torch.float64), torch.tensor([3, 0, 1, 2, 2, 0, 1, 3, 0])
    changed = change(inputs, torch.zeros(9, 3, 5, dtype=torch.float64), rows, None)
    for row, edit in enumerate(rows.tolist()):
        delta = updates[edit].left.double() @ updates[edit].right.double()
        torch.testing.assert_close(changed[row], inputs[row] @ delta.T)
    alone = stacked_change(updates[:1], torch.device("cpu"), torch.float64)
    whole = alone(inputs, torch.zeros(9, 3, 5, dtype=torch.float64), torch.zeros(9, dtype=torch.long), None)
    torch.testing.assert_close(whole, inputs @ (updates[0].left.double() @ updates[0].right.double()).T)


def test_a_codebook_fires_only_at_the_lookup_and_only_within_its_radius():
    change = stacked_change([book([0.0, 0.0], [3.0, 0.0]), None], torch.device("cpu"), torch.float32)
    inputs = torch.tensor([[[9.0, 9.0], [0.5, 0.0], [0.0, 0.0]]]).repeat(5, 1, 1)
    inputs[1, 1] = torch.tensor([1.01, 0.0])  # outside both radii
    inputs[2, 1] = torch.tensor([2.5, 0.0])  # nearer to the second key
    output = torch.full((5, 3, 2), 7.0)
    rows, lookup = torch.tensor([0, 0, 0, 1, 0]), torch.tensor([1, 1, 1, 1, -1])
    changed = change(inputs, output, rows, lookup)
    expected = output.clone()
    expected[0, 1], expected[2, 1] = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])
    assert torch.equal(changed, expected)
    assert torch.equal(change(inputs, output, rows, None), output)
    assert torch.equal(output, torch.full((5, 3, 2), 7.0)), "the output it was given is left alone"


def test_the_radius_is_exact_far_from_the_origin():
    key = torch.full((1, 64), 100.0)
    update = Codebook("m", key, torch.zeros(1, 2), torch.tensor([1e-3]), ((1,),))
    change = stacked_change([update], torch.device("cpu"), torch.float32)
    inputs = key[None].repeat(2, 1, 1)
    inputs[1, 0, 0] += 2e-3
    changed = change(inputs, torch.ones(2, 1, 2), torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    assert changed[:, 0, 0].tolist() == [0.0, 1.0]


def test_a_codebook_is_far_from_what_lies_clearly_outside_every_radius():
    queries = torch.tensor([[0.0, 0.5], [0.0, 1.0005], [0.0, 2.0], [3.0, 0.9]])
    assert book([0.0, 0.0], [3.0, 0.0]).is_far_from(queries).tolist() == [False, False, True, False]
