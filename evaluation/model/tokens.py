"""Texts of different lengths as one batch of tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PASS_COST = {"cpu": 12, "cuda": 256}  # tokens that take as long as a further pass; cuda: not measured yet


class Tokens(NamedTuple):
    """A padded batch: ``ids`` and ``mask`` (True at real tokens), both (rows, tokens)."""

    ids: Tensor
    mask: Tensor

    def positions(self, before: Tensor | int = 0) -> Tensor:
        """Position of every token in its own row, given how many real tokens came before, shape (rows, 1) or 0."""
        return (self.mask.long().cumsum(-1) - 1 + before).clamp_min(0)


def pad(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device, side: str) -> Tokens:
    """Token lists as one batch, padded on the "left" or "right"."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        where = slice(width - len(sequence), width) if side == "left" else slice(0, len(sequence))
        ids[row, where] = torch.as_tensor(list(sequence), dtype=torch.long)
        mask[row, where] = True
    return Tokens(ids.to(device), mask.to(device))


def parts_by_length(lengths: Sequence[int], most: int, device: torch.device) -> list[list[int]]:
    """The rows of a batch in parts, shortest first, so that padding and passes together cost least.

    The best of all ways to cut the rows, in the order of their lengths, into parts: by dynamic programming.

    Args:
        lengths: Tokens of each row.
        most: How many rows a part has at most.
        device: Where the passes run; it decides how many tokens of padding a further pass is worth.
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    price = PASS_COST.get(device.type, PASS_COST["cuda"])
    costs, starts = [0], [0]  # of the first rows in order: the least cost, and where the last part begins
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        choices = [(costs[at] + (end - at) * longest + price, at) for at in range(max(0, end - most), end)]
        cost, start = min(choices)
        costs.append(cost)
        starts.append(start)
    parts, end = [], len(order)
    while end:
        parts.append(order[starts[end] : end])
        end = starts[end]
    return parts[::-1]
