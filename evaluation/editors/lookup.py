"""Optimising a vector at the lookup position, the last prompt token: what GRACE, ROME and their relatives share.

The prompts' earlier tokens are read once, the layers below the edited one run once, and every step runs only the layers
from the edited one on, over the lookup token and the target. Requests are rows of one batch and stop independently.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.editors.independent import IndependentAdam
from clmeeval_data.evaluation.model.hooks import captured_inputs, changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Prefix, Tokens, read_prompts, run_suffix, suffix_of

IGNORED = -100  # label of positions that predict no target token
PART_ROWS = 8  # rows that are worth a pass of their own: padding costs more than a further pass


@dataclass(frozen=True)
class Lookup:
    """Prompts and targets up to the edited module, whose input at the lookup token is the key, whose output the value.

    ``owner``: index of the request each row belongs to, shape (rows,): a request may be asked in several contexts.
    ``labels``: shape (rows, tokens), the target token each suffix position predicts. ``entering``: input of the edited
    layer at the suffix tokens, shape (rows, tokens, d). ``keys``: (rows, f). ``values``: (rows, d).
    """

    layer: int
    prefix: Prefix
    suffix: Tokens
    labels: Tensor
    owner: Tensor
    entering: Tensor
    keys: Tensor
    values: Tensor

    def select(self, owners: Sequence[int]) -> "Lookup":
        """The rows of the given requests, which are numbered anew in the given order."""
        rows = [row for owner in owners for row in (self.owner == owner).nonzero()[:, 0].tolist()]
        place = {owner: new for new, owner in enumerate(owners)}
        return replace(self._rows(rows), owner=torch.tensor([place[int(self.owner[row])] for row in rows]))

    def by_length(self, rows: int) -> list["Lookup"]:
        """The same rows in parts of about ``rows``, shortest targets first: less of a part is padding."""
        order = self.suffix.mask.sum(-1).argsort(stable=True).tolist()
        count = max(1, len(order) // rows)
        size = -(-len(order) // count)
        return [self._rows(order[start : start + size]) for start in range(0, len(order), size)]

    def _rows(self, rows: list[int]) -> "Lookup":
        index = torch.tensor(rows, device=self.labels.device)
        width = int(self.suffix.mask[index].sum(-1).max())
        on = index.to(self.entering.device)
        return Lookup(
            self.layer,
            self.prefix.select(rows),
            Tokens(self.suffix.ids[index, :width], self.suffix.mask[index, :width]),
            self.labels[index, :width],
            self.owner[rows],
            self.entering[on, :width],
            self.keys[on],
            self.values[on],
        )


@dataclass(frozen=True)
class Fit:
    """Optimised vectors, shape (requests, d), with each request's final loss and the updates it took."""

    vectors: Tensor
    losses: list[float]
    steps: list[int]


def read_lookup(
    lm: LanguageModel, prompts: Sequence[str], targets: Sequence[Sequence[int]], owners: Sequence[int], layer: int
) -> Lookup:
    """Run prompts and targets once, and keep what stays the same while a vector at the lookup token changes.

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
    module = lm.mlp_output(layer)
    prefix = read_prompts(lm, prompts)
    suffix = suffix_of(lm, prefix, targets)
    outputs: list[Tensor] = []

    def keep(inputs: Tensor, output: Tensor) -> Tensor:
        outputs.append(output[:, 0])
        return output

    with torch.no_grad(), changed_output(module, keep):
        modules = {"layer": lm.layer_modules[layer], "module": module}
        with captured_inputs(modules) as seen:
            run_suffix(lm, prefix, suffix)
    labels = torch.full(suffix.ids.shape, IGNORED)
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.as_tensor(list(target), dtype=torch.long)
    owner = torch.tensor(list(owners))
    return Lookup(layer, prefix, suffix, labels.to(lm.device), owner, seen["layer"], seen["module"][:, 0], outputs[0])


def target_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy averaged over each row's own target tokens, shape (rows,); 0 for a row without target."""
    labels = labels.to(logits.device)
    here = labels != IGNORED
    each = cross_entropy(logits[here].float(), labels[here], reduction="none")
    summed = torch.zeros(labels.shape[0], device=logits.device).index_add(0, here.nonzero()[:, 0], each)
    return summed / here.sum(-1).clamp_min(1)


LossOf = Callable[[Tensor, Lookup], Tensor]  # (logits, rows) -> what each row adds to its request's loss


@dataclass(frozen=True)
class Search:
    """How a vector is searched for: by Adam.

    ``steps``: updates at most. ``stop_loss``: a request whose loss is below it is left as it is. ``added``: whether the
    vector is added to the module's output rather than put in its place.
    """

    learning_rate: float
    steps: int
    stop_loss: float
    added: bool


def fit_vectors(
    lm: LanguageModel,
    lookups: Sequence[Lookup],
    start: Tensor,
    search: Search,
    loss_of: LossOf,
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None,
    project: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Fit:
    """One vector per request, by gradient descent on the sum of what its rows and the penalty say.

    Args:
        lm: The model.
        lookups: The requests' rows, in one or more parts.
        start: First vectors, shape (requests, d).
        search: How to search.
        loss_of: The share of every row in its request's loss, shape (rows,), from logits (rows, tokens, vocabulary).
        penalty: Loss of the vectors themselves, shape (requests,), from (vectors, indices of their requests).
        project: Applied after every update to (vectors, indices of their requests).

    Raises:
        EditError: If a loss is not a number.
    """
    vectors = IndependentAdam(start, search.learning_rate)
    losses, taken = [math.nan] * len(start), [0] * len(start)
    parts = list(lookups)
    for step in range(search.steps + 1):
        with torch.set_grad_enabled(step < search.steps):
            loss = _losses(lm, parts, vectors.current, loss_of, search.added)
            if penalty is not None:
                loss = loss + penalty(vectors.current, torch.tensor(vectors.active))
        values = loss.tolist()
        for index, value in zip(vectors.active, values, strict=True):
            check_finite(value, f"request {index + 1}")
            losses[index], taken[index] = value, step
        going = [row for row, value in enumerate(values) if value >= search.stop_loss]
        if step == search.steps or not going:
            break
        loss.sum().backward()
        if len(going) < len(vectors.active):
            parts = [part.select(going) for part in parts if set(going) & set(part.owner.tolist())]
        vectors.step(going)
        if project is not None:
            vectors.replace(project(vectors.current.detach(), torch.tensor(vectors.active)))
    return Fit(vectors.finished(), losses, taken)


def check_finite(loss: float, name: str) -> None:
    """Stop an optimisation that left the numbers behind.

    Raises:
        EditError: If the loss is not a finite number.
    """
    if not math.isfinite(loss):
        raise EditError(f"the loss of {name} became {loss}. Lower the learning rate, or use float32.")


def _losses(lm: LanguageModel, parts: Sequence[Lookup], vectors: Tensor, loss_of: LossOf, added: bool) -> Tensor:
    """Loss per request, shape (requests,), with the vectors in their place."""
    total = torch.zeros(len(vectors), device=vectors.device)
    for part in parts:

        def change(inputs: Tensor, output: Tensor, part: Lookup = part) -> Tensor:
            placed = vectors[part.owner.to(output.device)].to(output.dtype)[:, None]
            return torch.cat([output[:, :1] + placed if added else placed, output[:, 1:]], dim=1)

        with changed_output(lm.mlp_output(part.layer), change):
            logits = run_suffix(lm, part.prefix, part.suffix, part.layer, part.entering)
        total = total.index_add(0, part.owner.to(total.device), loss_of(logits, part).to(total.device))
    return total
