"""Optimising a vector at the lookup position, the last prompt token: what GRACE, ROME and their relatives share.

The prompts' earlier tokens are read once, the layers below the edited one run once, and every step runs only the layers
from the edited one on, over the lookup token and the target. Requests are rows of one batch and stop independently.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.independent import IndependentAdam
from clmeeval_data.evaluation.model.hooks import captured_inputs, changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Prefix, Tokens, read_prompts, run_suffix, suffix_of

IGNORED = -100  # label of positions that predict no target token


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
        renumbered = torch.tensor(
            [new for new, old in enumerate(owners) for _ in range(int((self.owner == old).sum()))]
        )
        index = torch.tensor(rows, device=self.labels.device)
        width = int(self.suffix.mask[index].sum(-1).max())
        on = index.to(self.entering.device)
        return Lookup(
            self.layer,
            self.prefix.select(rows),
            Tokens(self.suffix.ids[index, :width], self.suffix.mask[index, :width]),
            self.labels[index, :width],
            renumbered.to(self.owner.device),
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


LossOf = Callable[[Tensor, Lookup, Tensor], Tensor]  # (logits, rows, vectors of their requests) -> loss per request


def fit_vectors(
    lm: LanguageModel,
    lookup: Lookup,
    start: Tensor,
    loss_of: LossOf,
    *,
    added: bool,
    learning_rate: float,
    steps: int,
    stop_loss: float,
    project: Callable[[Tensor, Tensor], Tensor] | None = None,
    requests: Sequence[EditRequest] = (),
) -> Fit:
    """Adam on one vector per request, which takes the place of the edited module's output at the lookup token.

    Args:
        lm: The model.
        lookup: The requests' rows.
        start: First vectors, shape (requests, d).
        loss_of: Loss per request, shape (requests,), from logits (rows, tokens, vocabulary).
        added: Whether the vector is added to the output rather than put in its place.
        learning_rate: Of Adam.
        steps: Updates at most.
        stop_loss: A request whose loss is below it is left as it is.
        project: Applied after every update to (vectors, indices of their requests).
        requests: Names for the error message.

    Raises:
        EditError: If a loss is not a number.
    """
    module = lm.mlp_output(lookup.layer)
    vectors = IndependentAdam(start, learning_rate)
    losses, taken = [math.nan] * len(start), [0] * len(start)
    rows = lookup
    for step in range(steps + 1):
        current = vectors.current

        def change(inputs: Tensor, output: Tensor, current: Tensor = current, rows: Lookup = rows) -> Tensor:
            placed = current[rows.owner.to(output.device)].to(output.dtype)
            first = output[:, :1] + placed[:, None] if added else placed[:, None]
            return torch.cat([first, output[:, 1:]], dim=1)

        with torch.set_grad_enabled(step < steps), changed_output(module, change):
            logits = run_suffix(lm, rows.prefix, rows.suffix, rows.layer, rows.entering)
            loss = loss_of(logits, rows, current)
        for index, value in zip(vectors.active, loss.tolist(), strict=True):
            losses[index], taken[index] = value, step
        _check_finite(vectors.active, losses, requests)
        if step == steps:
            break
        going = [row for row, value in enumerate(loss.tolist()) if value >= stop_loss]
        if not going:
            break
        loss.sum().backward()
        if len(going) < len(vectors.active):
            rows = rows.select(going)
        vectors.step(going)
        if project is not None:
            vectors.replace(project(vectors.current.detach(), torch.tensor(vectors.active)))
    return Fit(vectors.finished(), losses, taken)


def _check_finite(active: Sequence[int], losses: Sequence[float], requests: Sequence[EditRequest]) -> None:
    for index in active:
        if not math.isfinite(losses[index]):
            name = requests[index].case_id if requests else f"request {index}"
            raise EditError(f"{name}: the loss became {losses[index]}. Lower the learning rate, or use float32.")
