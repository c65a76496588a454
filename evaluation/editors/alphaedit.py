"""AlphaEdit: MEMIT whose updates are projected onto the null space of a corpus' keys, which they leave as they are.

P = V V^T, V the eigenvectors of C with small eigenvalues;  W += R A^T,  A = (P K K^T + beta I)^-1 P K
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import Family
from clmeeval_data.evaluation.editors.memit import Memit, MemitConfig
from clmeeval_data.evaluation.model.lm import LanguageModel


@dataclass(frozen=True, kw_only=True)
class AlphaEditConfig(MemitConfig):
    """Settings of AlphaEdit: those of MEMIT, and these.

    ``threshold``: eigenvectors of C with a smaller eigenvalue span the null space. ``weight``: beta, which keeps the
    update small; the published code calls it L2.
    """

    weight: float = 10.0
    threshold: float = 2e-2


class AlphaEdit(Memit):
    """AlphaEdit: null-space constrained knowledge editing.

    Source: Fang et al., "AlphaEdit: Null-Space Constrained Knowledge Editing for Language Models", ICLR 2025 (arXiv
    2410.02355), equations 10 to 14, without earlier edits to keep (the requests of one edit are solved for together).
    As P is a projector, A = P K (beta I + K^T P K)^-1, an n x n system.
    """

    name: ClassVar[str] = "alphaedit"
    summary: ClassVar[str] = "MEMIT inside the null space of a corpus' keys"
    family: ClassVar[Family] = "locate-then-edit"
    changes: ClassVar[str] = "several MLP output maps"
    needs: ClassVar[str] = "key statistics"
    config_class: ClassVar[type[AlphaEditConfig]] = AlphaEditConfig
    cannot: ClassVar[Mapping[str, str]] = {
        "sequential": "its update would have to keep the keys of the earlier edits as well (equation 14 of its paper), "
        "and an edit does not carry them. Use batch:N."
    }
    config: AlphaEditConfig

    def solve(self, lm: LanguageModel, layer: int, keys: Tensor) -> Tensor:
        """A^T for keys K^T that are written together, both of shape (n, f): A = (P K K^T + beta I)^-1 P K."""
        basis = self.statistics(lm)[layer].null_space(self.config.threshold)  # (f, r), float64
        inside = keys.to(basis) @ basis  # (n, r)
        inner = inside @ inside.T
        inner.diagonal().add_(self.config.weight)
        solution: Tensor = torch.linalg.solve(inner, inside @ basis.T)
        return solution
