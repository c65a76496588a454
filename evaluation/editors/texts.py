"""Prompts with their targets as whole texts, from a layer on: what methods that train weights run in every step.

A weight of a layer changes what the layer makes of every token, so no token's keys and values can be kept; but the
layers below it run once.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED
from clmeeval_data.evaluation.model.hooks import skipped_layers
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Tokens, layer_input, read_prompts, suffix_of


@dataclass(frozen=True)
class Texts:
    """Prompts with targets, padded on both sides so that all prompts end in one column.

    ``entering``: input of ``layer``, shape (rows, tokens, d), None for the first layer. ``labels``: shape (rows, end),
    the target token that each of the last columns predicts. ``owner``: index of the edit each row belongs to, (rows,).
    """

    layer: int
    tokens: Tokens
    entering: Tensor | None
    labels: Tensor
    owner: Tensor

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

    def by_length(self, rows: int) -> list["Texts"]:
        """The same rows in parts of about ``rows``, shortest first: less of a part is padding."""
        order = self.tokens.mask.sum(-1).argsort(stable=True).tolist()
        return [self._rows(order[start : start + rows]) for start in range(0, len(order), rows)]

    def logits(self, lm: LanguageModel) -> Tensor:
        """What the model, with whatever is in force, says at the columns of ``labels``: (rows, end, vocabulary)."""
        with ExitStack() as stack:
            if self.entering is not None:
                stack.enter_context(skipped_layers(lm.layer_modules, self.layer, self.entering))
            logits: Tensor = lm.model(
                input_ids=self.tokens.ids,
                attention_mask=self.tokens.mask.long(),
                position_ids=self.tokens.positions(),
                use_cache=False,
                logits_to_keep=self.labels.shape[1],
            ).logits
        return logits

    def _rows(self, rows: list[int]) -> "Texts":
        """Some of the rows, without the padding that all of them share."""
        index = torch.tensor(rows, device=self.tokens.mask.device)
        used = self.tokens.mask[index].any(0).nonzero()[:, 0]
        first, end = int(used[0]), int(used[-1]) + 1
        width = self.labels.shape[1] - (self.tokens.mask.shape[1] - end)
        return Texts(
            self.layer,
            Tokens(self.tokens.ids[index, first:end], self.tokens.mask[index, first:end]),
            None if self.entering is None else self.entering[index.to(self.entering.device), first:end],
            self.labels[index, :width],
            self.owner[rows],
        )


def read_texts(lm: LanguageModel, requests: Sequence[EditRequest], owners: Sequence[int], layer: int) -> Texts:
    """Run the requests' texts up to a layer.

    Args:
        lm: The model.
        requests: One row each.
        owners: The edit each request belongs to.
        layer: The lowest layer that is going to change.

    Raises:
        CaseError: If a prompt is empty, or prompt and target do not fit into the model's context.
    """
    targets = [lm.encode_target(request.prompt, request.target) for request in requests]
    prefix = read_prompts(lm, [request.prompt for request in requests], [layer] if layer else [])
    suffix = suffix_of(lm, prefix, targets)
    labels = torch.full(suffix.ids.shape, IGNORED)
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.tensor(target)
    tokens = Tokens(
        torch.cat([prefix.tokens.ids[:, :-1], suffix.ids], 1),
        torch.cat([prefix.tokens.mask[:, :-1], suffix.mask], 1),
    )
    entering = None
    if layer:
        entering = torch.cat([prefix.entering[layer][:, :-1], layer_input(lm, prefix, suffix, layer)], 1)
    return Texts(layer, tokens, entering, labels.to(lm.device), torch.tensor(list(owners)))
