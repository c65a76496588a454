"""An edit is a value: computed by an editor, applied for the length of a block, added, saved, loaded, or merged.

with edit.applied(lm):            # the model answers as edited; afterwards it is bit-identical to before
with applied(lm, edits) as live:  # many independent edits at once: row i of a batch runs under edit live.rows[i]
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.edit_file import read_edit, tensors_of, write_edit
from clmeeval_data.evaluation.model.hooks import changed_output
from clmeeval_data.evaluation.model.live import AppliedEdits
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.placement import computing_device
from clmeeval_data.evaluation.model.preamble import PreamblesInForce
from clmeeval_data.evaluation.model.prefix import Prefix
from clmeeval_data.evaluation.model.structure import oriented_weight
from clmeeval_data.evaluation.model.updates import (
    Change,
    Codebook,
    Dense,
    LowRank,
    Preamble,
    Update,
    combined,
    stacked_change,
)

__all__ = ["AppliedEdits", "Edit", "applied"]

_WITHOUT_WEIGHTS = {
    Codebook: "codebook replaces outputs at single tokens",
    Preamble: "preamble is text before the prompt",
}


@dataclass(frozen=True, eq=False)
class Edit:
    """What an editor found: the updates of the modules, and where they come from.

    ``updates``: at most one of a kind for a module; none for the unedited model. ``fingerprint``: of its model.
    ``method`` and ``config``: of the editor. ``case_ids``: the requests in it. ``details``: the method's own
    diagnostics, such as its final loss. ``first_call_only``: an evaluation applies it to the prompt and the rephrased
    prompt and not to what comes after, as the benchmark's released code does with one of its methods.
    """

    updates: tuple[Update, ...]
    fingerprint: str
    method: str
    config: Mapping[str, Any] = field(default_factory=dict)
    case_ids: tuple[str, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)
    first_call_only: bool = False

    @property
    def changes_weights(self) -> bool:
        """Whether it changes weights, so that every token is affected."""
        return any(isinstance(update, LowRank | Dense) for update in self.updates)

    @property
    def preamble(self) -> Preamble | None:
        """What the model reads before every prompt, if the edit is one of in-context editing."""
        return next((update for update in self.updates if isinstance(update, Preamble)), None)

    @property
    def nbytes(self) -> int:
        """Size of the edit's tensors, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(self.updates).values())

    def leaves_alone(self, lm: LanguageModel, prefix: Prefix, rows: Sequence[int]) -> list[bool]:
        """Which prompts the model answers as if there were no edit: those at which no codebook fires.

        Exact: a codebook that does not fire leaves every activation as it was. False where it cannot be told.

        Args:
            lm: The model.
            prefix: Prompts, read on the unedited model; what it keeps of a codebook's layer tells.
            rows: The rows of the prefix in question.
        """
        books = [update for update in self.updates if isinstance(update, Codebook)]
        inputs = [_kept(lm, prefix, book) for book in books]
        if len(books) < len(self.updates) or any(found is None for found in inputs):
            return [False] * len(rows)
        chosen = list(rows)
        far = [
            book.is_far_from(found[chosen]).tolist()
            for book, found in zip(books, inputs, strict=True)
            if found is not None
        ]
        return [all(book[row] for book in far) for row in range(len(chosen))]

    def distances(self, lm: LanguageModel, prefix: Prefix, rows: Sequence[int]) -> list[float]:
        """How far prompts are from the nearest key of the edit's codebook; nothing where it has no codebook.

        Args:
            lm: The model.
            prefix: Prompts, read on the unedited model.
            rows: The rows of the prefix in question.
        """
        books = [update for update in self.updates if isinstance(update, Codebook)]
        inputs = _kept(lm, prefix, books[0]) if len(books) == 1 else None
        return [] if inputs is None else books[0].distances(inputs[list(rows)]).tolist()

    @contextmanager
    def applied(self, lm: LanguageModel, lookup: Tensor | None = None) -> "Iterator[AppliedEdits]":
        """Run the model under this edit, in all rows.

        Args:
            lm: The model it was made for.
            lookup: Index of the last prompt token in each row, shape (rows,), where a forward pass reads more than the
                prompt (a codebook has to know). Without it the first pass over a text is taken to be its prompt.

        Raises:
            EditError: If the edit belongs to another model.
        """
        with applied(lm, [self]) as live:
            if lookup is not None:
                live.at(lookup)
            yield live

    def merge(self, lm: LanguageModel) -> None:
        """Write the edit into the model's weights, for good.

        Raises:
            EditError: If the edit belongs to another model, or holds a codebook or a preamble.
            ModelError: If a weight it changes is offloaded.
        """
        self._check(lm)
        changes = [update for update in self.updates if isinstance(update, LowRank | Dense)]
        for update in self.updates:
            if isinstance(update, Codebook | Preamble):
                does = _WITHOUT_WEIGHTS[type(update)]
                raise EditError(
                    f"an edit of {self.method} cannot be merged: its {does}, which no weight can express. "
                    "Keep it as a file, and use it with Edit.load(path).applied(lm)."
                )
        weights = [oriented_weight(lm.model.get_submodule(update.module)) for update in changes]
        with torch.no_grad():
            for update, weight in zip(changes, weights, strict=True):
                weight.copy_((weight.float() + update.delta().to(weight.device)).to(weight.dtype))
        lm.weights_changed()

    def __add__(self, later: "Edit") -> "Edit":
        """Sequential editing: this edit, then the later one.

        Raises:
            EditError: If they belong to different models, or their codebooks' keys cannot be compared.
        """
        if self.fingerprint != later.fingerprint:
            raise EditError(f"edits of different models ({self.fingerprint}, {later.fingerprint}) cannot be added.")
        method = self.method if self.method == later.method else f"{self.method}+{later.method}"
        updates = combined(self.updates, later.updates)
        return Edit(
            updates,
            self.fingerprint,
            method,
            self.config,
            (*self.case_ids, *later.case_ids),
            first_call_only=self.first_call_only or later.first_call_only,
        )

    def save(self, path: Path) -> None:
        """Write the edit as one safetensors file (aside first, then renamed into place)."""
        header = {
            "fingerprint": self.fingerprint,
            "method": self.method,
            "config": dict(self.config),
            "case_ids": self.case_ids,
            "details": dict(self.details),
            "first_call_only": self.first_call_only,
        }
        write_edit(path, self.updates, header)

    @classmethod
    def load(cls, path: Path, lm: LanguageModel | None = None) -> "Edit":
        """Read an edit back, onto the CPU.

        Args:
            path: A file written by ``save``.
            lm: The model it is meant for, checked at once; ``applied`` and ``merge`` check it in any case.

        Raises:
            EditError: If the file is missing, is not an edit, or belongs to another model.
        """
        updates, header = read_edit(path)
        edit = cls(
            updates,
            header["fingerprint"],
            header["method"],
            header["config"],
            tuple(header["case_ids"]),
            header["details"],
            bool(header.get("first_call_only")),
        )
        if lm is not None:
            edit._check(lm)
        return edit

    def _check(self, lm: LanguageModel) -> None:
        if self.fingerprint != lm.fingerprint:
            raise EditError(
                f"this {self.method} edit belongs to model {self.fingerprint}, not to {lm.name} ({lm.fingerprint}). "
                "Load the model, weights and precision it was made with."
            )


@contextmanager
def applied(lm: LanguageModel, edits: Sequence[Edit]) -> Iterator[AppliedEdits]:
    """Run the model under independent edits, each row of a batch under its own.

    Raises:
        EditError: If one of the edits belongs to another model.
    """
    for edit in edits:
        edit._check(lm)
    live, preambles = AppliedEdits(len(edits)), [edit.preamble for edit in edits]
    with ExitStack() as stack:
        lm.edits_applied += 1
        stack.callback(_unapplied, lm)
        if any(preambles):
            front = PreamblesInForce(lm, preambles, live.edits_of)
            live.shift = lambda: front.shift
            before = lm.model.register_forward_pre_hook(front.before, with_kwargs=True, prepend=True)
            stack.callback(before.remove)
            stack.callback(lm.model.register_forward_hook(front.after, with_kwargs=True).remove)
        handle = lm.model.register_forward_pre_hook(live.find_lookup, with_kwargs=True)
        stack.callback(handle.remove)
        for name, changes in _changes(lm, edits).items():
            module = lm.model.get_submodule(name)
            stack.enter_context(changed_output(module, partial(live.change, changes)))
        yield live


def _unapplied(lm: LanguageModel) -> None:
    lm.edits_applied -= 1


def _changes(lm: LanguageModel, edits: Sequence[Edit]) -> dict[str, list[Change]]:
    """Per module what happens to its output: weight updates first, then codebooks, which replace the sum."""
    changing = [[update for update in edit.updates if not isinstance(update, Preamble)] for edit in edits]
    names = dict.fromkeys(update.module for updates in changing for update in updates)
    found: dict[str, list[Change]] = {}
    for name in names:
        module = lm.model.get_submodule(name)
        device, dtype = computing_device(module), module.get_parameter("weight").dtype
        found[name] = []
        for kind in (LowRank, Dense, Codebook):
            same = [
                next((u for u in updates if u.module == name and isinstance(u, kind)), None) for updates in changing
            ]
            if any(update is not None for update in same):
                found[name].append(stacked_change(same, device, dtype))
    return found


def _kept(lm: LanguageModel, prefix: Prefix, book: Codebook) -> Tensor | None:
    """What a prefix keeps of the input that a codebook looks at, shape (rows, f)."""
    kept = prefix.looked_up if book.encoder is None else prefix.pooled
    return next((found for layer, found in kept.items() if lm.map.mlp_output_name(layer) == book.module), None)
