"""A codebook: values that take the place of a module's output at the last prompt token, each found by its key.

The query of a prompt is the module's input at that token, or an encoding of its mean over all the prompt's tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, linear

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.passes import Change, PromptPart

ROUNDING = 1e-3  # relative: two computations of one key in half precision differ by less
SLOPE = 0.5  # of the encoder's leaky ReLU


@dataclass(frozen=True, eq=False)
class Encoder:
    """E(x) = second @ leaky_relu(first @ x + first_bias, slope 0.5) + second_bias, from a mean key to a query.

    ``first``: shape (h, f). ``first_bias``: (h,). ``second``: (e, h). ``second_bias``: (e,).

    Source: A-GRACE, Li et al., ICSE 2025 (arXiv 2411.06638), section V; the slope is that of its released code.
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor

    def __call__(self, pooled: Tensor) -> Tensor:
        """Queries, shape (..., e), of mean keys of shape (..., f), in float32."""
        first, first_bias, second, second_bias = (t.to(pooled.device, torch.float32) for t in self.tensors)
        return linear(leaky_relu(linear(pooled.float(), first, first_bias), SLOPE), second, second_bias)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The encoder's tensors, in the order of its fields."""
        return self.first, self.first_bias, self.second, self.second_bias

    @property
    def place(self) -> tuple[int, ...]:
        """Where the tensors lie in memory: encoders at one place are one encoder."""
        return tuple(tensor.data_ptr() for tensor in self.tensors)

    @cached_property
    def steepness(self) -> float:
        """Two mean keys at distance r have queries at distance r times this at most."""
        norms = (torch.linalg.eigvalsh(gram)[-1].clamp_min(0).sqrt() for gram in map(_gram, (self.first, self.second)))
        return float(next(norms)) * float(next(norms))

    def equals(self, other: "Encoder") -> bool:
        """Whether both give the same queries."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return self.place == other.place or all(
            a.shape == b.shape and torch.equal(a, b.to(a.device, a.dtype)) for a, b in pairs
        )


def _gram(matrix: Tensor) -> Tensor:
    return matrix.float() @ matrix.float().T


@dataclass(frozen=True, eq=False)
class Codebook:
    """At the last prompt token, the value of the nearest key if the query is within its radius (Euclidean).

    ``keys``: shape (n, f), or with an encoder (n, e), as it encodes them. ``values``: shape (n, d). ``radii``: shape
    (n,). ``labels``: per key the token ids of its target, which tell whether two entries want the same answer.
    ``encoder``: None where the query is the module's input at the last prompt token; with one, the query is the encoded
    mean of the module's input over the prompt's own tokens.

    Source: Hartvigsen et al., "Aging with GRACE", NeurIPS 2023 (arXiv 2211.11031), section 2.2, algorithm 1; with an
    encoder A-GRACE (arXiv 2411.06638), whose released code takes the mean over no token at all in later passes.
    """

    module: str
    keys: Tensor
    values: Tensor
    radii: Tensor
    labels: tuple[tuple[int, ...], ...]
    encoder: Encoder | None = None

    def query(self, inputs: Tensor) -> Tensor:
        """What is compared with the keys, given the module's input at the last token, or its mean, (rows, f)."""
        return inputs.float() if self.encoder is None else self.encoder(inputs)

    def insert(self, key: Tensor, value: Tensor, radius: float, label: tuple[int, ...]) -> "Codebook":
        """The codebook with one more request in it; ``key`` is a query, so encoded where there is an encoder.

        Far from every key: a new entry. Near one that wants the same answer: that entry's radius grows to reach it.
        Near one that wants another: a new entry, and both radii shrink to half the distance.
        """
        distances = (self.keys.float() - key.to(self.keys.device, torch.float32)).norm(dim=-1)
        nearest = int(distances.argmin())
        distance = float(distances[nearest])
        radii = self.radii.clone()
        if distance > radius + float(radii[nearest]):
            return self._with(key, value, radii, radius, label)
        if self.labels[nearest] == label:
            radii[nearest] = max(float(radii[nearest]), distance)
            return replace(self, radii=radii)
        radii[nearest] = distance / 2 - 1e-5
        return self._with(key, value, radii, distance / 2, label)

    def distances(self, inputs: Tensor) -> Tensor:
        """Euclidean distance of each query to the nearest key, shape (rows,), given what ``query`` takes."""
        queries = self.query(inputs)
        return torch.cdist(queries, self.keys.to(queries.device).float()).min(-1).values

    def is_far_from(self, inputs: Tensor) -> Tensor:
        """Whether the codebook surely does not fire, rounding errors allowed for; shape (rows,).

        Args:
            inputs: The module's input at the last prompt token, or with an encoder its mean, shape (rows, f).
        """
        queries, sizes = self.query(inputs), inputs.float().norm(dim=-1, keepdim=True)
        keys, radii = self.keys.to(queries.device).float(), self.radii.to(queries.device)
        gaps = torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
        slack = ROUNDING * sizes * (1.0 if self.encoder is None else self.encoder.steepness)
        outside: Tensor = gaps > radii.clamp_min(0) + slack
        return outside.all(-1)

    def plus(self, later: "Codebook") -> "Codebook":
        """The codebook after the later one's entries were inserted one by one.

        Raises:
            EditError: If their queries are made in different ways.
        """
        if not _same_queries(self.encoder, later.encoder):
            raise EditError(
                f"two codebooks of {self.module} have different encoders: their keys cannot be compared. "
                "Make both edits with the same trained file."
            )
        book = self
        for key, value, radius, label in zip(later.keys, later.values, later.radii.tolist(), later.labels, strict=True):
            book = book.insert(key, value, radius, label)
        return book

    def _with(self, key: Tensor, value: Tensor, radii: Tensor, radius: float, label: tuple[int, ...]) -> "Codebook":
        return replace(
            self,
            keys=torch.cat([self.keys, key[None].to(self.keys)]),
            values=torch.cat([self.values, value[None].to(self.values.device)]),
            radii=torch.cat([radii, radii.new_tensor([radius])]),
            labels=(*self.labels, label),
        )


def _same_queries(first: Encoder | None, second: Encoder | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.equals(second)


def stacked_codebooks(updates: Sequence[Codebook | None], device: torch.device) -> Change:
    """What the codebooks of a module, one per edit, do to its output when every row runs under its own edit.

    Codebooks with one encoder between them are asked together: it runs once for all their rows.
    """
    groups: dict[object, list[int]] = {}
    for index, update in enumerate(updates):
        if update is not None:
            groups.setdefault(None if update.encoder is None else update.encoder.place, []).append(index)
    shelves = [_Shelf(updates, group, device) for group in groups.values()]

    def change(
        inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None, part: PromptPart | None = None
    ) -> Tensor:
        if lookup is None:
            return output
        if part is None:  # a pass that reads unpadded prompts from their first token on
            part = PromptPart(torch.arange(inputs.shape[1], device=lookup.device) <= lookup[:, None])
        for shelf in shelves:
            output = shelf.placed(inputs, output, rows, lookup, part)
        return output

    return change


class _Shelf:
    """The codebooks of a module whose queries are made in the same way, as padded tensors."""

    def __init__(self, updates: Sequence[Codebook | None], edits: Sequence[int], device: torch.device) -> None:
        books = [book for index in edits if (book := updates[index]) is not None]
        some, size = books[0], max(len(book.labels) for book in books)
        self._module, self._encoder = some.module, None if some.encoder is None else _moved(some.encoder, device)
        self._slots = torch.full((len(updates),), -1, device=device)  # place of each edit's book on the shelf
        self._slots[list(edits)] = torch.arange(len(books), device=device)
        self._keys = torch.zeros(len(books), size, some.keys.shape[1], device=device)
        self._values = torch.zeros(len(books), size, some.values.shape[1], device=device)
        self._radii = torch.full((len(books), size), -1.0, device=device)  # below any distance: never fires
        for slot, book in enumerate(books):
            n = len(book.labels)
            self._keys[slot, :n], self._values[slot, :n], self._radii[slot, :n] = book.keys, book.values, book.radii

    def placed(self, inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor, part: PromptPart) -> Tensor:
        """The output with the values of the codebooks that fire; of rows under other edits as it is."""
        here = ((self._slots[rows] >= 0) & (lookup >= 0)).nonzero()[:, 0]
        if not len(here):
            return output
        slots, at = self._slots[rows[here]], lookup[here]
        query = inputs[here, at].float() if self._encoder is None else self._encoded(inputs, part, here)
        # the exact form of the distance: through a matrix product it would lose half the digits of small distances
        gaps = torch.cdist(query[:, None], self._keys[slots], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
        distance, nearest = gaps.masked_fill(self._radii[slots] < 0, torch.inf).min(-1)
        fires = distance <= self._radii[slots, nearest]
        changed = output.clone()
        changed[here[fires], at[fires]] = self._values[slots[fires], nearest[fires]].to(output.dtype)
        return changed

    def _encoded(self, inputs: Tensor, part: PromptPart, rows: Tensor) -> Tensor:
        pooled = part.mean(self._module, inputs)[rows]
        return pooled if self._encoder is None else self._encoder(pooled)


def _moved(encoder: Encoder, device: torch.device) -> Encoder:
    return Encoder(*(tensor.to(device, torch.float32) for tensor in encoder.tensors))
