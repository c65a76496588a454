"""Parts of a batch: every row once, and no cheaper way to cut."""

import random
from itertools import combinations

import pytest
import torch

from clmeeval_data.evaluation.model.tokens import PASS_COST, parts_by_length

CPU, CUDA = torch.device("cpu"), torch.device("cuda")  # no tensor is made there


def cost_of(parts, lengths, price):
    return sum(len(part) * max(lengths[row] for row in part) + price for part in parts)


def all_cuts(rows):
    """Every way to cut a list into consecutive parts."""
    for count in range(len(rows)):
        for at in combinations(range(1, len(rows)), count):
            yield [rows[start:end] for start, end in zip((0, *at), (*at, len(rows)), strict=True)]


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("most", [1, 3, 9])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_cut_of_the_rows_costs_less(seed, most, device):
    lengths = random.Random(seed).choices(range(1, 400 if seed % 2 else 40), k=9)
    parts = parts_by_length(lengths, most, device)
    assert sorted(row for part in parts for row in part) == list(range(9))
    assert max(map(len, parts)) <= most
    ordered = [lengths[row] for part in parts for row in part]
    assert ordered == sorted(lengths)
    price = PASS_COST[device.type]
    allowed = [cut for cut in all_cuts([row for part in parts for row in part]) if max(map(len, cut)) <= most]
    assert cost_of(parts, lengths, price) == min(cost_of(cut, lengths, price) for cut in allowed)


def test_texts_of_one_length_are_parts_as_large_as_allowed():
    assert [len(part) for part in parts_by_length([50] * 8, 8, CPU)] == [8]
    assert len(parts_by_length([50] * 9, 4, CPU)) == 3


def test_one_long_text_is_a_part_of_its_own_where_a_pass_is_cheap():
    lengths = [300, 30, 31, 29]
    assert parts_by_length(lengths, 8, CPU) == [[3, 1, 2], [0]]
    assert parts_by_length([60, 30, 31, 29], 8, CUDA) == [[3, 1, 2, 0]]


def test_no_rows_are_no_parts():
    assert parts_by_length([], 8, CPU) == []
