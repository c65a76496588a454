"""Prompts with their targets as whole texts, from a layer on: what methods that train weights run in every step.

A weight of a layer changes what the layer makes of every token, so no token's keys and values can be kept; but the
layers below it run once.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED, scored_losses, spread
from clmeeval_data.evaluation.model.hooks import computed_at, kept_positions, skipped_layers
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import layer_input, read_prompts, suffix_of
from clmeeval_data.evaluation.model.tokens import Tokens, pad, parts_by_length


@dataclass(frozen=True)
class Texts:
    """Prompts with targets, padded on the right.

    ``entering``: input of ``layer``, shape (rows, tokens, d), None for the first layer. ``labels``: the target token
    that each token predicts, shape (rows, tokens). ``owner``: index of the edit each row belongs to, shape (rows,).
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
        """The same rows in parts of ``rows`` at most, shortest first: less of a part is padding."""
        mask = self.tokens.mask
        return [self._rows(part) for part in parts_by_length(mask.sum(-1).tolist(), rows, mask.device)]

    def losses(self, lm: LanguageModel) -> Tensor:
        """Mean cross-entropy of each row's target, shape (rows,), with whatever is in force; nats per token."""
        scored, head = self.labels != IGNORED, lm.model.get_output_embeddings()
        with ExitStack() as stack:
            if head is not None:
                stack.enter_context(kept_positions(head, scored))
                stack.enter_context(computed_at(lm.last_mlp, scored))
            if self.entering is not None:
                stack.enter_context(skipped_layers(lm.layer_modules, self.layer, self.entering))
            logits: Tensor = lm.model(
                input_ids=self.tokens.ids,
                attention_mask=self.tokens.mask.long(),
                position_ids=self.tokens.positions(),
                use_cache=False,
            ).logits
        found = logits[0] if head is not None else logits[scored.to(logits.device)]
        each = scored_losses(found, self.labels[scored])
        return spread(each, self.labels).sum(-1) / scored.sum(-1).clamp_min(1).to(each.device)

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
