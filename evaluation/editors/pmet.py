"""PMET: MEMIT with two vectors, one at the attention's output and one at the MLP's, of which the second is written.

v = m_L + delta_mlp at the lookup token, found together with delta_attention;  R_l = (v - m_L) / sqrt(layers left)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.locate import Question, find_vectors
from clmeeval_data.evaluation.editors.memit import Memit, MemitConfig
from clmeeval_data.evaluation.editors.search import Fit, Terms
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.partial import LayerRun


@dataclass(frozen=True, kw_only=True)
class PmetConfig(MemitConfig):
    """Settings of PMET: those of MEMIT, and these.

    ``attention_clamp``: |delta| of the attention's vector is at most this many times the attention's output, as
    ``clamp`` is for the MLP's vector. It is not written, so what it contributes is lost: the smaller it is, the more of
    the answer the MLP's vector has to carry. ``reached_factor``: weight of the likelihood once every target token is
    the most probable one. ``stop_kl``: from then on a request is done when its weighted divergence is at most this,
    and, where ``stop_worst`` is set, its worst token's loss below that.
    """

    steps: int = 30
    attention_clamp: float = 4.0
    reached_factor: float = 0.1
    stop_kl: float = 0.01


class Pmet(Memit):
    """Precise Model Editing in a Transformer.

    Source: Li et al., "PMET: Precise Model Editing in a Transformer", AAAI 2024 (arXiv 2308.08742), equations 8 to 12:
    both vectors are free, the MLP's alone is written, and the residual is spread by square roots.
    """

    name: ClassVar[str] = "pmet"
    summary: ClassVar[str] = "MEMIT with a second vector, at the attention, that is not written"
    family: ClassVar[Family] = "locate-then-edit"
    changes: ClassVar[str] = "several MLP output maps"
    needs: ClassVar[str] = "key statistics"
    config_class: ClassVar[type[PmetConfig]] = PmetConfig
    config: PmetConfig

    _looks_at_attention: ClassVar[bool] = True

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """As MEMIT; fails early if the model has no attention output map."""
        lm.attention_output(self.config.layers[-1])
        super().prepare(lm, train, track)

    def _search(self, lm: LanguageModel, question: Question) -> tuple[Tensor, Fit]:
        config, rows = self.config, question.rows
        attention = rows.values if rows.attention is None else rows.attention
        room = config.attention_clamp / config.clamp
        limits = torch.stack([question.sizes(attention) * room, question.sizes(rows.values)], dim=1)

        def likelihood(terms: Terms) -> Tensor:
            return terms.nll * torch.where(terms.greedy, config.reached_factor, 1.0)

        def done(terms: Terms, losses: Tensor) -> Tensor:
            kept = config.kl_factor * terms.divergence <= config.stop_kl
            sure = terms.worst < (config.stop_worst or torch.inf)
            return terms.greedy & kept & sure

        fit = find_vectors(lm, config, question, limits, ("attention", "mlp"), likelihood, done)
        return rows.values[rows.first_rows()].float() + fit.vectors[:, 1], fit

    def _reached(self, run: LayerRun) -> Tensor:
        return run.values[self.config.layers[-1]][:, -1].float()

    def _share(self, left: int) -> float:
        return 1 / sqrt(left)
