"""Prompts and targets up to an edited module, read once: what a search for a vector at the lookup token starts from.

The lookup token is where an edit takes place: the last token of the prompt, or for some methods an earlier one. Tokens
before it are read once, and the layers below the edited one run once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs, ended_after
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Prefix, read_prompts, run_suffix, suffix_of
from clmeeval_data.evaluation.model.tokens import Tokens, parts_by_length

IGNORED = -100  # label of positions that predict no target token
PART_ROWS = 8  # rows of similar length that run together, at most


@dataclass(frozen=True)
class Lookup:
    """Rows of text that end in a target, with what the model computes at the lookup token of each.

    ``owner``: index of the request each row belongs to, shape (rows,): a request may be asked in several contexts.
    ``suffix``: the lookup token and all that follows it. ``labels``: shape (rows, tokens), the target token each suffix
    position predicts. ``entering``: input of the edited layer at the suffix tokens, shape (rows, tokens, d). At the
    lookup token: ``keys``, input of the MLP output map (rows, f); ``values``, its output (rows, d); ``blocks``, output
    of the whole layer (rows, d); ``attention``, output of its attention (rows, d), kept where it was asked for.
    ``original``: log-probabilities after the row's last token before the edit, shape (rows, vocabulary), in rows that
    have to keep them rather than to predict a target.
    """

    layer: int
    prefix: Prefix
    suffix: Tokens
    labels: Tensor
    owner: Tensor
    entering: Tensor
    keys: Tensor
    values: Tensor
    blocks: Tensor
    attention: Tensor | None = None
    original: Tensor | None = None

    def select(self, owners: Sequence[int]) -> "Lookup":
        """The rows of the given requests, which are numbered anew in the given order."""
        rows = [row for owner in owners for row in (self.owner == owner).nonzero()[:, 0].tolist()]
        place = {owner: new for new, owner in enumerate(owners)}
        return replace(self.rows(rows), owner=torch.tensor([place[int(self.owner[row])] for row in rows]))

    @property
    def last(self) -> Tensor:
        """True at the last suffix token of every row, shape (rows, tokens)."""
        columns = torch.arange(self.suffix.mask.shape[1], device=self.suffix.mask.device)
        return columns == self.suffix.mask.sum(-1, keepdim=True) - 1

    def first_rows(self) -> list[int]:
        """The first row of every request, in the order of the requests."""
        owners = self.owner.tolist()
        return [owners.index(request) for request in range(max(owners) + 1)]

    def by_length(self, rows: int) -> list["Lookup"]:
        """The same rows in parts of ``rows`` at most, shortest targets first: less of a part is padding."""
        mask = self.suffix.mask
        return [self.rows(part) for part in parts_by_length(mask.sum(-1).tolist(), rows, mask.device)]

    def rows(self, rows: Sequence[int]) -> "Lookup":
        """The given rows, without the columns that are padding in all of them."""
        index = torch.tensor(rows, device=self.labels.device)
        columns = self.suffix.mask[index].any(0).nonzero()[:, 0]
        width = int(columns.max()) + 1
        on = index.to(self.entering.device)
        return Lookup(
            self.layer,
            self.prefix.select(rows),
            Tokens(self.suffix.ids[index, :width], self.suffix.mask[index, :width]),
            self.labels[index, :width],
            self.owner[list(rows)],
            self.entering[on, :width],
            self.keys[on],
            self.values[on],
            self.blocks[on],
            None if self.attention is None else self.attention[on],
            None if self.original is None else self.original[index.to(self.original.device)],
        )


def read_lookup(
    lm: LanguageModel, prompts: Sequence[str], targets: Sequence[Sequence[int]], owners: Sequence[int], layer: int
) -> Lookup:
    """The lookup at the last prompt token.

    Args:
        lm: The model.
        prompts: One text per row.
        targets: Token ids to predict after each prompt; an empty target predicts nothing.
        owners: Index of the request each row belongs to.
        layer: Whose MLP output is edited.

    Raises:
        CaseError: If a prompt is empty or too long.
        ModelError: If the model has no such layer.
    """
    lm.mlp_output(layer)
    prefix = read_prompts(lm, prompts)
    suffix = suffix_of(lm, prefix, targets)
    labels = torch.full(suffix.ids.shape, IGNORED)
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.as_tensor(list(target), dtype=torch.long)
    return lookup_of(lm, prefix, suffix, labels, owners, layer)


@torch.no_grad()
def lookup_of(
    lm: LanguageModel,
    prefix: Prefix,
    suffix: Tokens,
    labels: Tensor,
    owners: Sequence[int],
    layer: int,
    attention: bool = False,
) -> Lookup:
    """Run texts once, and keep what stays the same while a vector at the lookup token changes.

    Args:
        lm: The model.
        prefix: The texts up to and including the lookup token, read.
        suffix: The lookup token and what follows.
        labels: The target token each suffix position predicts, shape (rows, tokens).
        owners: Index of the request each row belongs to.
        layer: Whose MLP output is edited.
        attention: Whether to keep the attention's output too.

    Raises:
        ModelError: If the model has no such layer, or no attention output map where that is asked for.
    """
    inputs: dict[str, nn.Module] = {"layer": lm.layer_modules[layer], "module": lm.mlp_output(layer)}
    outputs = dict(inputs)
    if attention:
        outputs["attention"] = lm.attention_output(layer)
    with captured_inputs(inputs) as entered, captured_outputs(outputs) as left, ended_after(lm.layer_modules[layer]):
        run_suffix(lm, prefix, suffix)
    return Lookup(
        layer,
        prefix,
        suffix,
        labels.to(lm.device),
        torch.tensor(list(owners)),
        entered["layer"],
        entered["module"][:, 0],
        left["module"][:, 0],
        left["layer"][:, 0],
        left["attention"][:, 0] if attention else None,
    )


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every target token, shape (rows, tokens); 0 at positions that predict none."""
    labels = labels.to(logits.device)
    here = labels != IGNORED
    return spread(cross_entropy(logits[here].float(), labels[here], reduction="none"), labels)


def scored_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of tokens, shape (n,), from logits (n, vocabulary) and labels (n,); its gradient is taken once.

    Of the logits one exponential is kept, which the way back makes the gradient of, in its place.
    """
    losses: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch gives Function.apply no types
        logits.float(), labels.to(logits.device)
    )
    return losses


def spread(each: Tensor, labels: Tensor) -> Tensor:
    """What was computed where ``labels``, shape (rows, tokens), ask for a token, in their shape; 0 elsewhere."""
    here = labels.to(each.device) != IGNORED
    return torch.zeros(labels.shape, device=each.device, dtype=each.dtype).masked_scatter(here, each)


class _CrossEntropy(torch.autograd.Function):
    """log sum exp(x) - x[label], with the gradient softmax(x) - onehot(label)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        top = logits.amax(-1, keepdim=True)
        weights = (logits - top).exp_()
        total, rows = weights.sum(-1), torch.arange(len(labels), device=labels.device)
        losses: Tensor = total.log() + top[:, 0] - logits[rows, labels]
        ctx.kept = (weights, total, labels) if ctx.needs_input_grad[0] else None
        return losses

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        weights, total, labels = ctx.kept
        ctx.kept = None  # it becomes the gradient
        slope = slopes[0]
        weights.mul_((slope / total)[:, None])
        weights[torch.arange(len(labels), device=labels.device), labels] -= slope
        return weights, None


def target_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy averaged over each row's own target tokens, shape (rows,); 0 for a row without target."""
    counts = (labels != IGNORED).sum(-1).clamp_min(1).to(logits.device)
    return token_losses(logits, labels).sum(-1) / counts


def check_finite(loss: float, name: str) -> None:
    """Stop an optimisation that left the numbers behind.

    Raises:
        EditError: If the loss is not a finite number.
    """
    if not math.isfinite(loss):
        raise EditError(f"the loss of {name} became {loss}. Lower the learning rate, or use float32.")
