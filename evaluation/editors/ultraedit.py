"""UltraEdit: MALMEN's keys and gradients without its network: normalised, scaled, and solved for in one step.

x = [k; g],   [k~; g~] = (x - mean) / std,   D = -eta |k~|^2 g~,   S = (K^T K + I)^-1 K^T D,   W' = W + S^T
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clmeeval_data.errors import CaseError, ConfigError
from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.gradients import (
    LayersConfig,
    Normaliser,
    Signals,
    home_of,
    pooled,
    read_signals,
    ridge_edit,
)
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel

BATCH = 16  # training requests that are read together


@dataclass(frozen=True)
class UltraEditConfig(LayersConfig):
    """Settings of UltraEdit.

    ``layers``: whose MLP output maps are changed. ``eta``: step size. ``ridge``: c of the regression, 1 in the paper.
    ``samples``: training requests, spread over the split, that mean and standard deviation are taken from, at most.
    """

    eta: float = 1e-6
    ridge: float = 1.0
    samples: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.eta > 0, "eta", "a number above 0")
        self._require(self.ridge > 0, "ridge", "a number above 0")
        self._require(self.samples >= 1, "samples", "at least 1")


class UltraEdit:
    """Editing without training, subject or memory.

    Source: Gu et al., "UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Large Language Models", 2025
    (arXiv 2505.14679), with the formula of its released code; one mean and standard deviation for all layers of a
    weight shape, as there. Three departures. The statistics come from the training split and are then frozen: the paper
    goes on updating them with every edit, so that an edit depends on those before it. The MLP output maps are changed,
    as by MALMEN and all methods of this benchmark; EasyEdit's settings for the method name the two input maps. The
    gradient is that of each request's own mean loss, so that it does not depend on what is edited beside it.
    """

    name: ClassVar[str] = "ultraedit"
    summary: ClassVar[str] = "one regression on normalised keys and gradients, without training"
    family: ClassVar[Family] = "global optimisation"
    changes: ClassVar[str] = "MLP output maps of upper layers"
    needs: ClassVar[str] = "training requests"
    config_class: ClassVar[type[EditorConfig]] = UltraEditConfig
    cannot: ClassVar[Mapping[str, str]] = {
        "sequential": "its mean and standard deviation would have to go on learning from edit to edit, as in its "
        "paper, and they are frozen here. Use batch:N."
    }

    def __init__(self, config: UltraEditConfig) -> None:
        self.config = config
        self._normalisers: dict[str, Normaliser] = {}  # by the model's fingerprint

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Number and digest of the training requests that the statistics are taken from."""
        chosen = self._chosen(train)
        lines = "\n".join(json.dumps([request.prompt, request.target]) for request in chosen)
        return {"train": {"requests": len(chosen), "digest": hashlib.sha256(lines.encode()).hexdigest()[:16]}}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Mean and standard deviation of keys and gradients over the training requests.

        Raises:
            ConfigError: If there are no training requests, or none that the model can read.
            ModelError: If the model has not got one of the layers.
        """
        layers, home = self.config.layers, home_of(lm, self.config.layers)
        chosen = self._chosen(train)
        normaliser = Normaliser(lm.map.f + lm.map.d).to(home)
        starts = range(0, len(chosen), BATCH)
        for start in track(starts, "statistics of keys and gradients", len(starts)):
            readable = [request for request in chosen[start : start + BATCH] if _is_readable(lm, request)]
            for signals in read_signals(lm, readable, layers) if readable else []:
                normaliser.update(signals.joined)
        if not normaliser.count:
            raise ConfigError(
                f"ultraedit takes its statistics from the training requests, and none of {len(train)} can be read. "
                "Give a dataset with a train split."
            )
        self._normalisers[lm.fingerprint] = normaliser

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One change per layer, from one regression over the tokens of all requests."""
        return self._solve(lm, requests, pooled(read_signals(lm, requests, self.config.layers)))

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A regression for every request; their signals are read in one batch."""
        signals = read_signals(lm, requests, self.config.layers)
        return [self._solve(lm, [request], one) for request, one in zip(requests, signals, strict=True)]

    def values(self, lm: LanguageModel, signals: Signals) -> tuple[Tensor, Tensor]:
        """D, what the outputs should change by, shape (layers, n, d), and the ridge of each layer, shape (layers,)."""
        if lm.fingerprint not in self._normalisers:
            raise ConfigError(
                f"ultraedit has no statistics of {lm.name} ({lm.fingerprint}). Call prepare(lm, train) before an edit."
            )
        rows: Tensor = self._normalisers[lm.fingerprint](signals.joined)
        keys, gradients = rows.split([lm.map.f, lm.map.d], -1)
        values: Tensor = -self.config.eta * keys.square().sum(-1, keepdim=True) * gradients
        return values, torch.full((len(self.config.layers),), self.config.ridge)

    def _solve(self, lm: LanguageModel, requests: Sequence[EditRequest], signals: Signals) -> Edit:
        return ridge_edit(lm, self.config, self.name, requests, signals, *self.values(lm, signals))

    def _chosen(self, train: Sequence[EditRequest]) -> list[EditRequest]:
        count = min(len(train), self.config.samples)
        return [train[index * len(train) // count] for index in range(count)]


def _is_readable(lm: LanguageModel, request: EditRequest) -> bool:
    try:
        lm.encode_target(request.prompt, request.target)
    except CaseError:
        return False
    return True
