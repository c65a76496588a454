"""Prompts with their targets as whole texts, from a layer on: what methods that train weights run in every step.

A weight of a layer changes what the layer makes of every token, so no token's keys and values can be kept; but the
layers below it run once, and so do the linear maps of the layer itself, up to the output map of its MLP.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED, scored_losses, spread
from clmeeval_data.evaluation.model.hooks import (
    captured_inputs,
    computed_at,
    ended_after,
    ended_before,
    kept_positions,
    recorded,
    replayed,
    skipped_layers,
)
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import layer_input, read_prompts, suffix_of
from clmeeval_data.evaluation.model.structure import linear_shape
from clmeeval_data.evaluation.model.tokens import Tokens, pad, parts_by_length


@dataclass(frozen=True)
class Texts:
    """Prompts with targets, padded on the right.

    ``layer``: the lowest one in which something is going to change, the output of its MLP's output map. ``entering``:
    its input, shape (rows, tokens, d), None for the first layer. ``labels``: the target token that each token predicts,
    shape (rows, tokens). ``owner``: index of the edit each row belongs to, shape (rows,). ``kept``: outputs of linear
    modules of the layer that stay, each of shape (rows, tokens, width).
    """

    layer: int
    tokens: Tokens
    entering: Tensor | None
    labels: Tensor
    owner: Tensor
    kept: Mapping[nn.Module, Tensor] = field(default_factory=dict)

    def of(self, owners: Sequence[int]) -> "Texts | None":
        """The rows of the given edits, None where there is none."""
        wanted = set(owners)
        rows = [row for row, owner in enumerate(self.owner.tolist()) if owner in wanted]
        if len(rows) == len(self.owner):
            return self
        return self._rows(rows) if rows else None

    def renumbered(self, owners: Sequence[int]) -> "Texts":
        """The same rows; the edit ``owners[i]`` is called i."""
        place = {owner: new for new, owner in enumerate(owners)}
        return replace(self, owner=torch.tensor([place[owner] for owner in self.owner.tolist()]))

    def by_length(self, lm: LanguageModel, rows: int) -> list["Texts"]:
        """The same rows in parts of ``rows`` at most, shortest first: less of a part is padding.

        With what the model, as it is now, computes in the layer before anything has changed.
        """
        mask = self.tokens.mask
        parts = [self._rows(part) for part in parts_by_length(mask.sum(-1).tolist(), rows, mask.device)]
        return [replace(part, kept=part._computed(lm)) for part in parts]

    def losses(self, lm: LanguageModel) -> Tensor:
        """Mean cross-entropy of each row's target, shape (rows,), with whatever is in force; nats per token."""
        return losses_of(lm, [self])[0]

    @property
    def scored(self) -> Tensor:
        """True at the tokens that predict a target token, shape (rows, tokens)."""
        return self.labels != IGNORED

    def read(self, lm: LanguageModel) -> Tensor:
        """What the output head reads at the scored tokens, shape (1, tokens, d)."""
        head = lm.model.get_output_embeddings()
        with kept_positions(head, self.scored), captured_inputs({0: head}) as found, ended_before(head):
            self._run_scored(lm)
        return found[0]

    def logits(self, lm: LanguageModel, before: Sequence[Tensor] = ()) -> Tensor:
        """The logits at the scored tokens, shape (tokens, vocabulary), behind those of what was ``read`` of others."""
        head = lm.model.get_output_embeddings()
        if head is None:
            with replayed(self.kept):
                logits = self._run(lm)
            return logits[self.scored.to(logits.device)]
        with kept_positions(head, self.scored, before):
            return self._run_scored(lm)[0]

    def _run_scored(self, lm: LanguageModel) -> Tensor:
        with replayed(self.kept), computed_at(lm.last_mlp, self.scored):
            return self._run(lm)

    def _run(self, lm: LanguageModel) -> Tensor:
        """The logits, of a pass from the layer on."""
        below = nullcontext() if self.entering is None else skipped_layers(lm.layer_modules, self.layer, self.entering)
        with below:
            logits: Tensor = lm.model(
                input_ids=self.tokens.ids,
                attention_mask=self.tokens.mask.long(),
                position_ids=self.tokens.positions(),
                use_cache=False,
            ).logits
        return logits

    @torch.no_grad()
    def _computed(self, lm: LanguageModel) -> dict[nn.Module, Tensor]:
        """What the layer's linear modules compute, up to the MLP's output map, token by token."""
        maps = [module for module in lm.layer_modules[self.layer].modules() if linear_shape(module)]
        with recorded(maps) as found, ended_after(lm.mlp_output(self.layer)):
            self._run(lm)
        return {module: output for module, output in found.items() if output.shape[:2] == self.tokens.ids.shape}

    def _rows(self, rows: list[int]) -> "Texts":
        """Some of the rows, without the padding that all of them share."""
        index = torch.tensor(rows, device=self.tokens.mask.device)
        end = int(self.tokens.mask[index].sum(-1).max())
        return Texts(
            self.layer,
            Tokens(self.tokens.ids[index, :end], self.tokens.mask[index, :end]),
            None if self.entering is None else self.entering[index.to(self.entering.device), :end],
            self.labels[index, :end],
            self.owner[rows],
            {module: output[index.to(output.device), :end] for module, output in self.kept.items()},
        )


def losses_of(
    lm: LanguageModel,
    parts: Sequence[Texts],
    in_force: Callable[[Texts], AbstractContextManager[object]] = nullcontext,
) -> list[Tensor]:
    """Mean cross-entropy of each row's target, one tensor of shape (rows,) per part; nats per token.

    The output head, which reads all of its weights for every pass however few tokens there are, runs once.

    Args:
        lm: The model, with whatever is in force.
        parts: Rows that are computed together.
        in_force: What else is in force while a part is computed.
    """
    together = lm.model.get_output_embeddings() is not None
    behind, found = [], []
    for number, part in enumerate(parts):
        with in_force(part):
            if together and number + 1 < len(parts):
                behind.append(part.read(lm))
            else:
                found.append(part.logits(lm, behind))
    labels = torch.cat([part.labels[part.scored] for part in parts])
    each = scored_losses(torch.cat(found), labels).split([int(part.scored.sum()) for part in parts])
    return [
        spread(own, part.labels).sum(-1) / part.scored.sum(-1).clamp_min(1).to(own.device)
        for own, part in zip(each, parts, strict=True)
    ]


def read_texts(lm: LanguageModel, requests: Sequence[EditRequest], owners: Sequence[int], layer: int) -> Texts:
    """Run the requests' texts up to a layer.

    Args:
        lm: The model.
        requests: One row each.
        owners: The edit each request belongs to.
        layer: The lowest layer in which something is going to change, the output of its MLP's output map.

    Raises:
        CaseError: If a prompt is empty, or prompt and target do not fit into the model's context.
    """
    targets = [lm.encode_target(request.prompt, request.target) for request in requests]
    prefix = read_prompts(lm, [request.prompt for request in requests], [layer] if layer else [])
    suffix = suffix_of(lm, prefix, targets)
    mask = torch.cat([prefix.tokens.mask[:, :-1], suffix.mask], 1)
    ids = torch.cat([prefix.tokens.ids[:, :-1], suffix.ids], 1)
    tokens = pad([ids[row][mask[row]].tolist() for row in range(len(ids))], lm.pad_id, lm.device, "right")
    labels = torch.full(tokens.ids.shape, IGNORED)
    for row, target in enumerate(targets):
        end = int(tokens.mask[row].sum())
        labels[row, end - len(target) : end] = torch.tensor(target)
    entering = None
    if layer:
        found = torch.cat([prefix.entering[layer][:, :-1], layer_input(lm, prefix, suffix, layer)], 1)
        entering = pad_sequence([states[own] for states, own in zip(found, mask.to(found.device), strict=True)], True)
    return Texts(layer, tokens, entering, labels.to(lm.device), torch.tensor(list(owners)))
