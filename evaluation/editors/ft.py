"""FT-L: plain fine-tuning of one MLP output map on the request, kept inside a small box around the old weight."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest
from clmeeval_data.evaluation.editors.independent import IndependentAdam
from clmeeval_data.evaluation.editors.lookup import IGNORED, check_finite, target_losses
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.hooks import changed_output, skipped_layers
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Tokens, layer_input, read_prompts, suffix_of
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


@dataclass(frozen=True)
class _Texts:
    """Prompts with targets, from the trained layer on: ``entering`` (rows, tokens, d), ``labels`` of the end."""

    tokens: Tokens
    entering: Tensor
    labels: Tensor
    owner: Tensor

    def select(self, owners: Sequence[int]) -> "_Texts":
        rows = torch.cat([(self.owner == owner).nonzero()[:, 0] for owner in owners])
        renumbered = torch.cat(
            [torch.full_like((self.owner == old).nonzero()[:, 0], new) for new, old in enumerate(owners)]
        )
        ids = rows.to(self.tokens.ids.device)
        tokens = Tokens(self.tokens.ids[ids], self.tokens.mask[ids])
        return _Texts(tokens, self.entering[rows.to(self.entering.device)], self.labels[ids], renumbered)


class FineTuning:
    """Constrained fine-tuning of one layer.

    Source: Zhu et al., "Modifying Memories in Transformer Models", 2020 (arXiv 2012.00363), section 4.2, in the form of
    the ROME paper's FT+L baseline, with the settings of the benchmark.
    """

    name: ClassVar[str] = "ft"
    summary: ClassVar[str] = "fine-tuning of one MLP inside a small box (FT-L)"
    config_class: ClassVar[type[EditorConfig]] = FtConfig

    def __init__(self, config: FtConfig) -> None:
        self.config = config

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest]) -> None:
        """Nothing to prepare; fails early if the layer does not exist."""
        lm.mlp_output(self.config.layer)

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One change of the weight, trained on all requests together."""
        return self._train(lm, requests, [0] * len(requests))[0]

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A change of the weight for every request, trained on it alone."""
        return self._train(lm, requests, list(range(len(requests))))

    def _train(self, lm: LanguageModel, requests: Sequence[EditRequest], owners: list[int]) -> list[Edit]:
        config, module = self.config, lm.mlp_output(self.config.layer)
        texts = self._read(lm, requests, owners)
        shape = (max(owners) + 1, lm.map.d, lm.map.f)
        deltas = IndependentAdam(torch.zeros(shape, device=texts.entering.device), config.learning_rate)
        losses, taken = [math.nan] * shape[0], [0] * shape[0]
        for step in range(config.steps + 1):
            current = deltas.current

            def change(x: Tensor, output: Tensor, current: Tensor = current, rows: _Texts = texts) -> Tensor:
                return output + x @ current[rows.owner.to(x.device)].to(x.dtype).transpose(1, 2)

            with torch.set_grad_enabled(step < config.steps), changed_output(module, change):
                loss = self._loss(lm, texts, len(current))
            for index, value in zip(deltas.active, loss.tolist(), strict=True):
                check_finite(value, requests[index].case_id)
                losses[index], taken[index] = value, step
            going = [row for row, value in enumerate(loss.tolist()) if value >= config.stop_loss]
            if step == config.steps or not going:
                break
            loss.sum().backward()
            if len(going) < len(deltas.active):
                texts = texts.select(going)
            deltas.step(going)
            deltas.replace(deltas.current.detach().clamp(-config.clamp, config.clamp))
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

    def _read(self, lm: LanguageModel, requests: Sequence[EditRequest], owners: list[int]) -> _Texts:
        layer = self.config.layer
        targets = [lm.encode_target(request.prompt, request.target) for request in requests]
        prefix = read_prompts(lm, [request.prompt for request in requests], [layer])
        suffix = suffix_of(lm, prefix, targets)
        labels = torch.full(suffix.ids.shape, IGNORED)
        for row, target in enumerate(targets):
            labels[row, : len(target)] = torch.tensor(target)
        tokens = Tokens(
            torch.cat([prefix.tokens.ids[:, :-1], suffix.ids], 1),
            torch.cat([prefix.tokens.mask[:, :-1], suffix.mask], 1),
        )
        entering = torch.cat([prefix.entering[layer][:, :-1], layer_input(lm, prefix, suffix, layer)], 1)
        return _Texts(tokens, entering, labels.to(lm.device), torch.tensor(owners))

    def _loss(self, lm: LanguageModel, texts: _Texts, edits: int) -> Tensor:
        """Mean loss of every edit's own requests, shape (edits,): only the layers from the trained one on run."""
        with ExitStack() as stack:
            if self.config.layer:
                stack.enter_context(skipped_layers(lm.layer_modules, self.config.layer, texts.entering))
            logits = lm.model(
                input_ids=texts.tokens.ids,
                attention_mask=texts.tokens.mask.long(),
                position_ids=texts.tokens.positions(),
                use_cache=False,
                logits_to_keep=texts.labels.shape[1],
            ).logits
        owner = texts.owner.to(logits.device)
        summed = torch.zeros(edits, device=logits.device).index_add(0, owner, target_losses(logits, texts.labels))
        return summed / torch.bincount(owner, minlength=edits)
