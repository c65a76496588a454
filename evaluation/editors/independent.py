"""Adam over the rows of one tensor as if each were optimised alone: rows stop, and leave the batch, on their own."""

from collections.abc import Sequence

import torch
from torch import Tensor

FUSED = ("cpu", "cuda")  # devices on which torch's Adam makes one pass over its numbers rather than ten


class IndependentAdam:
    """Adam whose rows (first dimension of ``start``) are independent problems.

    Adam works element by element, so rows do not influence each other; a row that has stopped keeps its value.
    """

    def __init__(self, start: Tensor, learning_rate: float) -> None:
        self.active = list(range(len(start)))
        self._done = start.detach().clone()
        self._learning_rate = learning_rate
        self._set(start.detach().clone(), {})

    @property
    def current(self) -> Tensor:
        """The active rows, a leaf that collects gradients."""
        return self._rows

    def leaves(self) -> list[Tensor]:
        """The active rows as leaves of their own, for large ones: their gradients collect in those of the rows."""
        if self._rows.grad is None:
            self._rows.grad = torch.zeros_like(self._rows)
        found = [row.requires_grad_(True) for row in self._rows.detach().unbind()]
        for leaf, gradient in zip(found, self._rows.grad.unbind(), strict=True):
            leaf.grad = gradient
        return found

    def step(self, going: Sequence[int]) -> None:
        """One update of the active rows at positions ``going``; the others stop with the value they have."""
        if len(going) < len(self.active):
            self._shrink(going)
        self._adam.step()
        self._adam.zero_grad(set_to_none=False)

    def replace(self, rows: Tensor) -> None:
        """Put other values in the place of the active rows; the optimiser's moments stay."""
        with torch.no_grad():
            self._rows.copy_(rows)

    def finished(self) -> Tensor:
        """All rows, stopped and active."""
        with torch.no_grad():
            self._done[self.active] = self._rows
        return self._done

    def _shrink(self, going: Sequence[int]) -> None:
        rows, gradient, state = self._rows, self._rows.grad, self._adam.state[self._rows]
        self.finished()
        self.active = [self.active[position] for position in going]
        index = torch.tensor(going, device=rows.device)
        kept = {name: value[index] if value.dim() else value for name, value in state.items()}
        self._set(rows.detach()[index], kept)
        self._rows.grad = None if gradient is None else gradient[index]

    def _set(self, rows: Tensor, state: dict[str, Tensor]) -> None:
        self._rows = rows.requires_grad_(True)
        fused = rows.device.type in FUSED and rows.is_floating_point()
        self._adam = torch.optim.Adam([self._rows], lr=self._learning_rate, fused=fused)
        if state:
            self._adam.state[self._rows] = state
