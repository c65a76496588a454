"""What an edit can do, each kept as thin as it is: three things to a linear module W (d x f), and one to the prompt.

A low-rank update and a dense delta change the weight everywhere; a codebook replaces the module's output at the last
prompt token where the token's key is near a stored one; a preamble is read before the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clmeeval_data.evaluation.model.codebook import Codebook, Encoder, stacked_codebooks
from clmeeval_data.evaluation.model.passes import Change, PromptPart
from clmeeval_data.evaluation.model.preamble import Preamble

__all__ = ["Change", "Codebook", "Dense", "Encoder", "LowRank", "Preamble", "Update", "combined", "stacked_change"]

GATHERED = 1 << 26  # elements of low-rank updates that are brought together at once, one update per row


@dataclass(frozen=True, eq=False)
class LowRank:
    """W + left @ right. ``left``: shape (d, r). ``right``: shape (r, f)."""

    module: str
    left: Tensor
    right: Tensor

    def delta(self) -> Tensor:
        """The change of the weight, shape (d, f), in float32."""
        return self.left.float() @ self.right.float()

    def plus(self, later: "LowRank") -> "LowRank":
        """Both updates, as one of the summed rank."""
        left, right = later.left.to(self.left.device), later.right.to(self.right.device)
        return LowRank(self.module, torch.cat([self.left, left], 1), torch.cat([self.right, right], 0))


@dataclass(frozen=True, eq=False)
class Dense:
    """W + change. ``change``: shape (d, f)."""

    module: str
    change: Tensor

    def delta(self) -> Tensor:
        """The change of the weight, shape (d, f), in float32."""
        return self.change.float()

    def plus(self, later: "Dense") -> "Dense":
        """Both updates as one."""
        return Dense(self.module, self.change + later.change.to(self.change.device))


Update = LowRank | Dense | Codebook | Preamble


def combined(first: Sequence[Update], second: Sequence[Update]) -> tuple[Update, ...]:
    """Two lists of updates as one with at most one update of a kind for a module: the second comes after the first."""
    merged: dict[tuple[str, type], Update] = {(update.module, type(update)): update for update in first}
    for update in second:
        place = (update.module, type(update))
        earlier = merged.get(place)
        merged[place] = update if earlier is None else earlier.plus(update)  # type: ignore[arg-type]  # same kind by key
    return tuple(merged.values())


def stacked_change(updates: Sequence[Update | None], device: torch.device, dtype: torch.dtype) -> Change:
    """What the updates of one kind, one per edit, do to a module's output when every row runs under its own edit."""
    kind = next(type(update) for update in updates if update is not None)
    if kind is LowRank:
        return _stacked_low_rank([u for u in updates if u is None or isinstance(u, LowRank)], device, dtype)
    if kind is Dense:
        return _stacked_dense([u for u in updates if u is None or isinstance(u, Dense)], device, dtype)
    return stacked_codebooks([u for u in updates if u is None or isinstance(u, Codebook)], device)


def _stacked_low_rank(updates: Sequence[LowRank | None], device: torch.device, dtype: torch.dtype) -> Change:
    some = next(update for update in updates if update is not None)
    rank = max(update.left.shape[1] for update in updates if update is not None)
    left = torch.zeros(len(updates), some.left.shape[0], rank, device=device, dtype=dtype)
    right = torch.zeros(len(updates), rank, some.right.shape[1], device=device, dtype=dtype)
    for index, update in enumerate(updates):
        if update is not None:
            left[index, :, : update.left.shape[1]] = update.left
            right[index, : update.right.shape[0]] = update.right
    at_once = max(1, GATHERED // (left[0].numel() + right[0].numel()))

    def change(
        inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None, part: PromptPart | None = None
    ) -> Tensor:
        if len(updates) == 1:
            return output + inputs @ right[0].T @ left[0].T
        added = [
            part @ right[of].transpose(1, 2) @ left[of].transpose(1, 2)
            for part, of in zip(inputs.split(at_once), rows.split(at_once), strict=True)
        ]
        return output + torch.cat(added)

    return change


def _stacked_dense(updates: Sequence[Dense | None], device: torch.device, dtype: torch.dtype) -> Change:
    deltas = [None if update is None else update.change.to(device, dtype) for update in updates]

    def change(
        inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None, part: PromptPart | None = None
    ) -> Tensor:
        changed = output.clone()
        for edit in sorted(set(rows.tolist())):
            delta = deltas[edit]
            if delta is not None:
                here = (rows == edit).nonzero()[:, 0]
                changed[here] += inputs[here] @ delta.T
        return changed

    return change
