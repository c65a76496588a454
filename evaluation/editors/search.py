"""The search for vectors at the lookup token: one per request, in one batch, each as if it were alone.

Every step runs only the layers from the edited one on, over the lookup token and what follows. Requests stop, and leave
the batch, on their own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from clmeeval_data.evaluation.editors.independent import IndependentAdam
from clmeeval_data.evaluation.editors.lookup import (
    IGNORED,
    PART_ROWS,
    Lookup,
    check_finite,
    scored_losses,
    spread,
)
from clmeeval_data.evaluation.model.hooks import changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import run_suffix

Place = Literal["mlp", "attention"]


@dataclass(frozen=True)
class Terms:
    """What the requests' rows say about their vectors; all of shape (requests,).

    ``nll``: mean over a request's rows of the mean cross-entropy of the target. ``worst``: the largest cross-entropy of
    a single target token. ``greedy``: whether every target token is the most probable one. ``divergence``: KL(edited ||
    original) in the rows that have to keep their next token.
    """

    nll: Tensor
    worst: Tensor
    greedy: Tensor
    divergence: Tensor


@dataclass(frozen=True)
class Search:
    """How vectors are searched for: by Adam, on ``loss``.

    ``steps``: updates at most. ``places``: the outputs that a request's vectors stand at. ``added``: whether a vector
    is added to the output rather than put in its place. ``loss``: shape (requests,), from the terms and the vectors
    (requests, places, d) of the requests with the given indices. ``done``: which requests are left as they are, from
    the terms and the losses. ``project``: applied to the vectors after every update.
    """

    learning_rate: float
    steps: int
    added: bool
    loss: Callable[[Terms, Tensor, Tensor], Tensor]
    done: Callable[[Terms, Tensor], Tensor]
    project: Callable[[Tensor, Tensor], Tensor] | None = None
    places: tuple[Place, ...] = ("mlp",)


@dataclass(frozen=True)
class Fit:
    """Optimised vectors, shape (requests, places, d), with each request's last loss and the updates it took."""

    vectors: Tensor
    losses: list[float]
    steps: list[int]


def stop_below(loss: float, worst: float) -> Callable[[Terms, Tensor], Tensor]:
    """A request is done when its loss, or the loss of its worst token, is below the given one.

    The mean over a long target hides a token that greedy decoding would not choose; below log 2 every token is chosen.
    """
    return lambda terms, losses: (losses < loss) | (terms.worst < worst)


def fit_vectors(lm: LanguageModel, lookups: Sequence[Lookup], start: Tensor, search: Search) -> Fit:
    """The vectors of every request, by gradient descent.

    Args:
        lm: The model.
        lookups: The requests' rows; those in one lookup are run in parts of similar length.
        start: First vectors, shape (requests, places, d).
        search: How to search.

    Raises:
        EditError: If a loss is not a number.
    """
    vectors = IndependentAdam(start, search.learning_rate)
    losses, taken = [0.0] * len(start), [0] * len(start)
    wholes, parts = list(lookups), _parted(lookups)
    for step in range(search.steps + 1):
        with torch.set_grad_enabled(step < search.steps):
            terms = _terms(lm, parts, vectors.current, search)
            loss = search.loss(terms, vectors.current, torch.tensor(vectors.active, device=terms.nll.device))
        values = loss.tolist()
        for index, value in zip(vectors.active, values, strict=True):
            check_finite(value, f"request {index + 1}")
            losses[index], taken[index] = value, step
        done = search.done(terms, loss.detach()).tolist()
        going = [row for row, over in enumerate(done) if not over]
        if step == search.steps or not going:
            break
        loss.sum().backward()
        if len(going) < len(vectors.active):
            alive = [vectors.active[row] for row in going]
            parts = _parted([whole.select(alive) for whole in _with_rows(wholes, alive)])
        vectors.step(going)
        if search.project is not None:
            active = torch.tensor(vectors.active, device=vectors.current.device)
            vectors.replace(search.project(vectors.current.detach(), active))
    return Fit(vectors.finished(), losses, taken)


def _parted(lookups: Sequence[Lookup]) -> list[Lookup]:
    return [part for lookup in lookups for part in lookup.by_length(PART_ROWS)]


def _with_rows(parts: Sequence[Lookup], requests: Sequence[int]) -> list[Lookup]:
    return [part for part in parts if set(requests) & set(part.owner.tolist())]


def _terms(lm: LanguageModel, parts: Sequence[Lookup], vectors: Tensor, search: Search) -> Terms:
    """The terms of all requests with the vectors in their places."""
    nll, worst, missed, divergence, rows = (torch.zeros(len(vectors), device=vectors.device) for _ in range(5))
    for part in parts:
        with ExitStack() as stack:
            for index, place in enumerate(search.places):
                module = lm.mlp_output(part.layer) if place == "mlp" else lm.attention_output(part.layer)
                stack.enter_context(_placed(module, vectors[:, index], part.owner, search.added))
            scored = part.labels != IGNORED if part.original is None else part.last
            logits = run_suffix(lm, part.prefix, part.suffix, part.layer, part.entering, scored)
        owner = part.owner.to(vectors.device)
        if part.original is not None:
            divergence = divergence.index_add(0, owner, _divergence(logits, part).to(vectors.device))
            continue
        wanted = part.labels[scored].to(logits.device)
        found = scored_losses(logits, wanted)
        each = spread(found, part.labels).to(vectors.device)
        counts = (part.labels != IGNORED).sum(-1).clamp_min(1).to(vectors.device)
        nll = nll.index_add(0, owner, each.sum(-1) / counts)
        rows = rows.index_add(0, owner, torch.ones_like(each[:, 0]))
        wrong = spread((logits.detach().argmax(-1) != wanted).float(), part.labels).sum(-1)
        missed = missed.index_add(0, owner, wrong.to(missed))
        worst = worst.scatter_reduce(0, owner, each.detach().amax(-1), "amax")
    return Terms(nll / rows.clamp_min(1), worst, missed == 0, divergence)


def _placed(module: nn.Module, vectors: Tensor, owner: Tensor, added: bool) -> AbstractContextManager[None]:
    """Every row's own vector at the lookup token of a module's output."""

    def change(inputs: Tensor, output: Tensor) -> Tensor:
        own = vectors[owner.to(vectors.device)].to(output.device, output.dtype)[:, None]
        return torch.cat([output[:, :1] + own if added else own, output[:, 1:]], dim=1)

    return changed_output(module, change)


def _divergence(logits: Tensor, part: Lookup) -> Tensor:
    """KL(edited || original) of the token after each row's last, shape (rows,)."""
    edited = logits.float().log_softmax(-1)
    original: Tensor = edited.detach() if part.original is None else part.original.to(edited.device)
    divergence: Tensor = (edited.exp() * (edited - original)).sum(-1)
    return divergence
