"""Texts of different lengths as one batch of tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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
