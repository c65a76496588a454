"""FT-L: plain fine-tuning of one MLP output map on the request, kept inside a small box around the old weight."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.independent import IndependentAdam
from clmeeval_data.evaluation.editors.lookup import PART_ROWS, check_finite
from clmeeval_data.evaluation.editors.texts import Texts, losses_of, read_texts
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.hooks import changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.placement import computing_device
from clmeeval_data.evaluation.model.updates import Dense


@dataclass(frozen=True)
class FtConfig(EditorConfig):
    """Settings of FT-L.

    ``layer``: whose MLP output map is trained. ``learning_rate``, ``steps``: of Adam. ``stop_loss``: training stops
    once the loss (nats per target token) is below it. ``clamp``: no weight moves further than this from its old value.
    """

    layer: int
    learning_rate: float = 5e-4
    steps: int = 25
    stop_loss: float = 1e-2
    clamp: float = 1e-4

    def __post_init__(self) -> None:
        self._require(self.steps >= 1, "steps", "at least 1")
        self._require(self.learning_rate > 0, "learning_rate", "a number above 0")
        self._require(self.clamp > 0, "clamp", "a number above 0")

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The one trained layer."""
        return (self.layer,)


class FineTuning:
    """Constrained fine-tuning of one layer.

    Source: Zhu et al., "Modifying Memories in Transformer Models", 2020 (arXiv 2012.00363), section 4.2, in the form of
    the ROME paper's FT+L baseline, with the settings of the benchmark.
    """

    name: ClassVar[str] = "ft"
    summary: ClassVar[str] = "fine-tuning of one MLP inside a small box (FT-L)"
    family: ClassVar[Family] = "global optimisation"
    changes: ClassVar[str] = "one MLP output map"
    needs: ClassVar[str] = "nothing"
    config_class: ClassVar[type[EditorConfig]] = FtConfig

    def __init__(self, config: FtConfig) -> None:
        self.config = config

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Nothing to prepare; fails early if the layer does not exist."""
        lm.mlp_output(self.config.layer)

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One change of the weight, trained on all requests together."""
        return self._train(lm, requests, [0] * len(requests))[0]

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A change of the weight for every request, trained on it alone."""
        return self._train(lm, requests, list(range(len(requests))))

    def _train(self, lm: LanguageModel, requests: Sequence[EditRequest], owners: list[int]) -> list[Edit]:
        config = self.config
        texts = read_texts(lm, requests, owners, config.layer)
        parts, counts = texts.by_length(lm, PART_ROWS), torch.bincount(texts.owner)
        shape, device = (len(counts), lm.map.d, lm.map.f), computing_device(lm.mlp_output(config.layer))
        deltas = IndependentAdam(torch.zeros(shape, device=device), config.learning_rate)
        losses, taken = [math.nan] * len(counts), [0] * len(counts)
        for step in range(config.steps + 1):
            with torch.set_grad_enabled(step < config.steps):
                loss = self._losses(lm, parts, deltas.leaves()) / counts[deltas.active].to(device)
            values = loss.tolist()
            for index, value in zip(deltas.active, values, strict=True):
                check_finite(value, requests[owners.index(index)].case_id)
                losses[index], taken[index] = value, step
            going = [row for row, value in enumerate(values) if value >= config.stop_loss]
            if step == config.steps or not going:
                break
            loss.sum().backward()
            if len(going) < len(deltas.active):
                parts = [kept.renumbered(going) for part in parts if (kept := part.of(going)) is not None]
            deltas.step(going)
            deltas.current.detach().clamp_(-config.clamp, config.clamp)
        name = lm.map.mlp_output_name(config.layer)
        return [
            Edit(
                updates=(Dense(name, delta.clone()),),
                fingerprint=lm.fingerprint,
                method=self.name,
                config=config.as_dict(),
                case_ids=tuple(r.case_id for r, owner in zip(requests, owners, strict=True) if owner == index),
                details={"loss": losses[index], "steps": float(taken[index])},
            )
            for index, delta in enumerate(deltas.finished())
        ]

    def _losses(self, lm: LanguageModel, parts: Sequence[Texts], deltas: Sequence[Tensor]) -> Tensor:
        """Summed loss of every edit's own requests, shape (edits,): only the layers from the trained one on run."""
        module = lm.mlp_output(self.config.layer)

        def changed(part: Texts) -> AbstractContextManager[None]:
            owners = part.owner.tolist()

            def change(x: Tensor, output: Tensor) -> Tensor:
                rows = zip(x, owners, strict=True)
                return output + torch.stack([row @ deltas[owner].to(x.device, x.dtype).T for row, owner in rows])

            return changed_output(module, change)

        total = torch.zeros(len(deltas), device=deltas[0].device)
        for part, losses in zip(parts, losses_of(lm, parts, changed), strict=True):
            total = total.index_add(0, part.owner.to(total.device), losses.to(total.device))
        return total
