"""GRACE: a codebook beside one MLP output map.

The key of a request is the map's input at the last prompt token; its value, found by gradient descent, takes the place
of the map's output there whenever a prompt's key comes within the radius of the stored one. Weights stay as they are.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.lookup import Lookup, read_lookup
from clmeeval_data.evaluation.editors.search import Search, fit_vectors, stop_below
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.updates import Codebook


@dataclass(frozen=True)
class GraceConfig(EditorConfig):
    """Settings of GRACE.

    ``layer``: the decoder layer whose MLP output map gets the codebook. ``radius``: Euclidean, of a new entry.
    ``start``: first value, uniform in [0, 1) or zero. ``steps``, ``learning_rate``: of Adam. ``stop_loss``: a value
    whose loss (nats per target token) is below it is not improved further; 0 for never. ``stop_worst``: the same for
    the loss of the worst token. ``seed``: of the uniform start.
    """

    layer: int
    learning_rate: float = 1.0
    steps: int = 30
    radius: float = 1.0
    start: Literal["uniform", "zero"] = "uniform"
    stop_loss: float = 0.0
    stop_worst: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._require(self.steps >= 1, "steps", "at least 1")
        self._require(self.learning_rate > 0, "learning_rate", "a number above 0")
        self._require(self.radius >= 0, "radius", "0 or more")

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The one layer with the codebook."""
        return (self.layer,)


class Grace:
    """General Retrieval Adaptors for Continual Editing.

    Source: Hartvigsen et al., "Aging with GRACE: Lifelong Model Editing with Discrete Key-Value Adaptors", NeurIPS 2023
    (arXiv 2211.11031), section 2 and algorithm 1. Requests are appended and labels compared by their token ids (the
    released code of the benchmark prepends labels and compares mean ids).
    """

    name: ClassVar[str] = "grace"
    summary: ClassVar[str] = "a codebook of keys and values beside one MLP"
    family: ClassVar[Family] = "memory"
    changes: ClassVar[str] = "a codebook beside one MLP"
    needs: ClassVar[str] = "nothing"
    config_class: ClassVar[type[EditorConfig]] = GraceConfig

    def __init__(self, config: GraceConfig) -> None:
        self.config = config

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Nothing to prepare; fails early if the layer does not exist."""
        lm.mlp_output(self.config.layer)

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One codebook into which the requests are inserted in their order."""
        edits = self.edit_each(lm, requests)
        total = edits[0]
        for edit in edits[1:]:
            total = total + edit
        return total

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A codebook with one entry for every request."""
        config = self.config
        targets = [lm.encode_target(request.prompt, request.target) for request in requests]
        prompts = [request.prompt for request in requests]
        lookup = read_lookup(lm, prompts, targets, range(len(requests)), config.layer)
        fit = fit_vectors(
            lm,
            [lookup],
            torch.stack([self._start(request, lookup) for request in requests])[:, None],
            Search(
                config.learning_rate,
                config.steps,
                added=False,
                loss=lambda terms, values, of: terms.nll,
                done=stop_below(config.stop_loss, config.stop_worst),
            ),
        )
        module, radius = lm.map.mlp_output_name(config.layer), torch.tensor([config.radius])
        return [
            Edit(
                updates=(Codebook(module, key[None].float(), value[None], radius.to(key.device), (tuple(target),)),),
                fingerprint=lm.fingerprint,
                method=self.name,
                config=config.as_dict(),
                case_ids=(request.case_id,),
                details={"loss": loss, "steps": float(steps)},
            )
            for request, target, key, value, loss, steps in zip(
                requests, targets, lookup.keys, fit.vectors[:, 0], fit.losses, fit.steps, strict=True
            )
        ]

    def _start(self, request: EditRequest, lookup: Lookup) -> Tensor:
        size, device = lookup.values.shape[-1], lookup.values.device
        if self.config.start == "zero":
            return torch.zeros(size, device=device)
        digest = hashlib.sha256(f"{self.config.seed}|{request.case_id}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.rand(size, generator=generator).to(device)
