"""The three things an edit can do to a linear module W (d x f), each kept as thin as it is.

A low-rank update and a dense delta change the weight everywhere; a codebook replaces the module's output at the last
prompt token where the token's key is near a stored one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

ROUNDING = 1e-3  # relative: two computations of one key in half precision differ by less


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
        return LowRank(self.module, torch.cat([self.left, later.left], 1), torch.cat([self.right, later.right], 0))


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
        return Dense(self.module, self.change + later.change)


@dataclass(frozen=True, eq=False)
class Codebook:
    """At the last prompt token, the value of the nearest key if the query is within its radius (Euclidean).

    ``keys``: shape (n, f). ``values``: shape (n, d). ``radii``: shape (n,). ``labels``: per key the token ids of its
    target, which tell whether two entries want the same answer.

    Source: Hartvigsen et al., "Aging with GRACE", NeurIPS 2023 (arXiv 2211.11031), section 2.2, algorithm 1.
    """

    module: str
    keys: Tensor
    values: Tensor
    radii: Tensor
    labels: tuple[tuple[int, ...], ...]

    def insert(self, key: Tensor, value: Tensor, radius: float, label: tuple[int, ...]) -> "Codebook":
        """The codebook with one more request in it.

        Far from every key: a new entry. Near one that wants the same answer: that entry's radius grows to reach it.
        Near one that wants another: a new entry, and both radii shrink to half the distance.
        """
        distances = (self.keys.float() - key.float()).norm(dim=-1)
        nearest = int(distances.argmin())
        distance = float(distances[nearest])
        radii = self.radii.clone()
        if distance > radius + float(radii[nearest]):
            return self._with(key, value, radii, radius, label)
        if self.labels[nearest] == label:
            radii[nearest] = max(float(radii[nearest]), distance)
            return replace(self, radii=radii)
        radii[nearest] = distance / 2 - 1e-5
        return self._with(key, value, radii, distance / 2, label)

    def is_far_from(self, queries: Tensor) -> Tensor:
        """Whether the codebook surely does not fire, rounding errors allowed for; per query, shape (rows, f)."""
        keys, radii = self.keys.to(queries.device).float(), self.radii.to(queries.device)
        gaps = torch.cdist(queries.float(), keys, compute_mode="donot_use_mm_for_euclid_dist")
        slack = ROUNDING * queries.float().norm(dim=-1, keepdim=True)
        outside: Tensor = gaps > radii.clamp_min(0) + slack
        return outside.all(-1)

    def plus(self, later: "Codebook") -> "Codebook":
        """The codebook after the later one's entries were inserted one by one."""
        book = self
        for key, value, radius, label in zip(later.keys, later.values, later.radii.tolist(), later.labels, strict=True):
            book = book.insert(key, value, radius, label)
        return book

    def _with(self, key: Tensor, value: Tensor, radii: Tensor, radius: float, label: tuple[int, ...]) -> "Codebook":
        return replace(
            self,
            keys=torch.cat([self.keys, key[None]]),
            values=torch.cat([self.values, value[None]]),
            radii=torch.cat([radii, radii.new_tensor([radius])]),
            labels=(*self.labels, label),
        )


Update = LowRank | Dense | Codebook
Change = Callable[
    [Tensor, Tensor, Tensor, Tensor | None], Tensor
]  # (input, output, edit of each row, lookup) -> output


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
    return _stacked_codebook([u for u in updates if u is None or isinstance(u, Codebook)], device)


def _stacked_low_rank(updates: Sequence[LowRank | None], device: torch.device, dtype: torch.dtype) -> Change:
    some = next(update for update in updates if update is not None)
    rank = max(update.left.shape[1] for update in updates if update is not None)
    left = torch.zeros(len(updates), some.left.shape[0], rank, device=device, dtype=dtype)
    right = torch.zeros(len(updates), rank, some.right.shape[1], device=device, dtype=dtype)
    for index, update in enumerate(updates):
        if update is not None:
            left[index, :, : update.left.shape[1]] = update.left
            right[index, : update.right.shape[0]] = update.right

    def change(inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None) -> Tensor:
        return output + inputs @ right[rows].transpose(1, 2) @ left[rows].transpose(1, 2)

    return change


def _stacked_dense(updates: Sequence[Dense | None], device: torch.device, dtype: torch.dtype) -> Change:
    deltas = [None if update is None else update.change.to(device, dtype) for update in updates]

    def change(inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None) -> Tensor:
        changed = output.clone()
        for edit in sorted(set(rows.tolist())):
            delta = deltas[edit]
            if delta is not None:
                here = (rows == edit).nonzero()[:, 0]
                changed[here] += inputs[here] @ delta.T
        return changed

    return change


def _stacked_codebook(updates: Sequence[Codebook | None], device: torch.device) -> Change:
    some = next(update for update in updates if update is not None)
    size = max(len(update.labels) for update in updates if update is not None)
    keys = torch.zeros(len(updates), size, some.keys.shape[1], device=device)
    values = torch.zeros(len(updates), size, some.values.shape[1], device=device)
    radii = torch.full((len(updates), size), -1.0, device=device)  # below any distance: never fires
    for index, update in enumerate(updates):
        if update is not None:
            n = len(update.labels)
            keys[index, :n], values[index, :n], radii[index, :n] = update.keys, update.values, update.radii

    def change(inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None) -> Tensor:
        if lookup is None:
            return output
        every = torch.arange(len(rows), device=device)
        query = inputs[every, lookup.clamp_min(0)].float()
        # the exact form of the distance: through a matrix product it would lose half the digits of small distances
        gaps = torch.cdist(query[:, None], keys[rows], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
        gaps = gaps.masked_fill(radii[rows] < 0, torch.inf)
        distance, nearest = gaps.min(-1)
        fires = (distance <= radii[rows, nearest]) & (lookup >= 0)
        changed = output.clone()
        changed[every[fires], lookup[fires]] = values[rows[fires], nearest[fires]].to(output.dtype)
        return changed

    return change
