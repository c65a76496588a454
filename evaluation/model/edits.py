"""An edit is a value: computed by an editor, applied for the length of a block, added, saved, loaded, or merged.

with edit.applied(lm):            # the model answers as edited; afterwards it is bit-identical to before
with applied(lm, edits) as live:  # many independent edits at once: row i of a batch runs under edit live.rows[i]
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.hooks import changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.structure import oriented_weight
from clmeeval_data.evaluation.model.updates import Change, Codebook, Dense, LowRank, Update, combined, stacked_change

FORMAT = "clmeeval-edit-1"
_KINDS: dict[str, type[LowRank] | type[Dense] | type[Codebook]] = {
    "low_rank": LowRank,
    "dense": Dense,
    "codebook": Codebook,
}
_TENSORS = {LowRank: ("left", "right"), Dense: ("change",), Codebook: ("keys", "values", "radii")}


@dataclass(frozen=True, eq=False)
class Edit:
    """What an editor found: the updates of the modules, and where they come from.

    ``updates``: at most one of a kind for a module; none for the unedited model. ``fingerprint``: of its model.
    ``method`` and ``config``: of the editor. ``case_ids``: the requests in it. ``details``: the method's own
    diagnostics, such as its final loss.
    """

    updates: tuple[Update, ...]
    fingerprint: str
    method: str
    config: Mapping[str, Any] = field(default_factory=dict)
    case_ids: tuple[str, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def changes_weights(self) -> bool:
        """Whether every token is affected, rather than the last prompt token alone."""
        return any(not isinstance(update, Codebook) for update in self.updates)

    @property
    def nbytes(self) -> int:
        """Size of the edit's tensors, in bytes."""
        return sum(t.numel() * t.element_size() for update in self.updates for t in _tensors(update).values())

    def leaves_alone(self, queries: Mapping[str, Tensor], rows: int) -> list[bool]:
        """Which prompts the model answers as if there were no edit: those at which no codebook fires.

        Exact: a codebook that does not fire leaves every activation as it was.

        Args:
            queries: By module, its input at the last token of each prompt, shape (rows, f).
            rows: The number of prompts.
        """
        if self.changes_weights or any(update.module not in queries for update in self.updates):
            return [False] * rows
        books = [update for update in self.updates if isinstance(update, Codebook)]
        far = [book.is_far_from(queries[book.module]).tolist() for book in books]
        return [all(book[row] for book in far) for row in range(rows)]

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
            EditError: If the edit belongs to another model, or holds a codebook, which is not a change of weights.
        """
        self._check(lm)
        for update in self.updates:
            if isinstance(update, Codebook):
                raise EditError(
                    f"a {self.method} edit cannot be merged: its codebook replaces outputs at single tokens, "
                    "which no weight can express. Keep it as a file, and use it with Edit.load(path).applied(lm)."
                )
        for update in self.updates:
            if not isinstance(update, Codebook):
                weight = oriented_weight(lm.model.get_submodule(update.module))
                with torch.no_grad():
                    weight.copy_((weight.float() + update.delta().to(weight.device)).to(weight.dtype))
        lm.weights_changed()

    def __add__(self, later: "Edit") -> "Edit":
        """Sequential editing: this edit, then the later one.

        Raises:
            EditError: If they belong to different models.
        """
        if self.fingerprint != later.fingerprint:
            raise EditError(f"edits of different models ({self.fingerprint}, {later.fingerprint}) cannot be added.")
        method = self.method if self.method == later.method else f"{self.method}+{later.method}"
        updates = combined(self.updates, later.updates)
        return Edit(updates, self.fingerprint, method, self.config, (*self.case_ids, *later.case_ids))

    def save(self, path: Path) -> None:
        """Write the edit as one safetensors file (aside first, then renamed into place)."""
        tensors, described = {}, []
        for index, update in enumerate(self.updates):
            kind = next(name for name, cls in _KINDS.items() if isinstance(update, cls))
            labels = update.labels if isinstance(update, Codebook) else ()
            described.append({"kind": kind, "module": update.module, "labels": labels})
            for name, tensor in _tensors(update).items():
                tensors[f"{index}.{name}"] = tensor.detach().cpu().contiguous()
        header = {
            "updates": described,
            "fingerprint": self.fingerprint,
            "method": self.method,
            "config": dict(self.config),
            "case_ids": self.case_ids,
            "details": dict(self.details),
        }
        with written_aside(path) as aside:
            save_file(tensors, aside, metadata={"format": FORMAT, "edit": json.dumps(header)})

    @classmethod
    def load(cls, path: Path, lm: LanguageModel | None = None) -> "Edit":
        """Read an edit back, onto the CPU.

        Args:
            path: A file written by ``save``.
            lm: The model it is meant for, checked at once; ``applied`` and ``merge`` check it in any case.

        Raises:
            EditError: If the file is missing, is not an edit, or belongs to another model.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise EditError(f"{path} is not an edit of this version. Expected a file written by Edit.save.")
                header = json.loads(metadata["edit"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise EditError(f"cannot read the edit {path}: {error}. Expected a file written by Edit.save.") from error
        updates = tuple(_update(index, one, tensors) for index, one in enumerate(header["updates"]))
        case_ids = tuple(header["case_ids"])
        edit = cls(updates, header["fingerprint"], header["method"], header["config"], case_ids, header["details"])
        if lm is not None:
            edit._check(lm)
        return edit

    def _check(self, lm: LanguageModel) -> None:
        if self.fingerprint != lm.fingerprint:
            raise EditError(
                f"this {self.method} edit belongs to model {self.fingerprint}, not to {lm.name} ({lm.fingerprint}). "
                "Load the model, weights and precision it was made with."
            )


class AppliedEdits:
    """Edits in force. Which edit each row of a batch runs under, and where in a row the last prompt token is.

    ``rows``: index of the edit for each row, shape (rows,); None: every row under edit 0 if there is one edit, row i
    under edit i if there are more.
    """

    def __init__(self, count: int) -> None:
        self.rows: Tensor | None = None
        self._count = count
        self._lookup: Tensor | None = None
        self._told = False

    def at(self, lookup: Tensor | None) -> None:
        """Say where the last prompt token of each row is in the passes to come, shape (rows,); None: nowhere."""
        self._lookup, self._told = lookup, True

    def find_lookup(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Where nothing was said: a pass with an empty cache reads the prompt, any other pass reads answers."""
        if self._told:
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        ids = kwargs.get("inputs_embeds") if ids is None else ids
        cache, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        if ids is None or (cache is not None and cache.get_seq_length() > 0):
            self._lookup = None
        elif mask is None or mask.dim() != 2:  # (rows, tokens)
            self._lookup = torch.full((ids.shape[0],), ids.shape[1] - 1, device=ids.device)
        else:
            order = torch.arange(mask.shape[1], device=mask.device)
            self._lookup = (mask.bool() * order).argmax(-1)

    def change(self, changes: Sequence[Change], inputs: Tensor, output: Tensor) -> Tensor:
        """A module's output under the edits."""
        rows = self.rows
        if rows is None:
            rows = torch.arange(inputs.shape[0]) if self._count > 1 else torch.zeros(inputs.shape[0], dtype=torch.long)
        if len(rows) != inputs.shape[0] or int(rows.max()) >= self._count:
            raise EditError(
                f"{inputs.shape[0]} rows run under {self._count} edits: say in live.rows which under which."
            )
        lookup = None if self._lookup is None else self._lookup.to(inputs.device)
        for one in changes:
            output = one(inputs, output, rows.to(inputs.device), lookup)
        return output


@contextmanager
def applied(lm: LanguageModel, edits: Sequence[Edit]) -> Iterator[AppliedEdits]:
    """Run the model under independent edits, each row of a batch under its own.

    Raises:
        EditError: If one of the edits belongs to another model.
    """
    for edit in edits:
        edit._check(lm)
    live = AppliedEdits(len(edits))
    with ExitStack() as stack:
        lm.edits_applied += 1
        stack.callback(_unapplied, lm)
        handle = lm.model.register_forward_pre_hook(live.find_lookup, with_kwargs=True)
        stack.callback(handle.remove)
        for name, changes in _changes(lm, edits).items():
            module = lm.model.get_submodule(name)
            stack.enter_context(
                changed_output(module, lambda inputs, output, c=changes: live.change(c, inputs, output))  # type: ignore[misc]
            )
        yield live


def _unapplied(lm: LanguageModel) -> None:
    lm.edits_applied -= 1


def _changes(lm: LanguageModel, edits: Sequence[Edit]) -> dict[str, list[Change]]:
    """Per module what happens to its output: weight updates first, then codebooks, which replace the sum."""
    names = dict.fromkeys(update.module for edit in edits for update in edit.updates)
    found: dict[str, list[Change]] = {}
    for name in names:
        weight = oriented_weight(lm.model.get_submodule(name))
        found[name] = []
        for kind in _TENSORS:
            updates = [
                next((u for u in edit.updates if u.module == name and isinstance(u, kind)), None) for edit in edits
            ]
            if any(update is not None for update in updates):
                found[name].append(stacked_change(updates, weight.device, weight.dtype))
    return found


def _tensors(update: Update) -> dict[str, Tensor]:
    return {name: getattr(update, name) for name in _TENSORS[type(update)]}


def _update(index: int, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Update:
    kind = _KINDS[described["kind"]]
    fields: dict[str, Any] = {name: tensors[f"{index}.{name}"] for name in _TENSORS[kind]}
    if kind is Codebook:
        fields["labels"] = tuple(tuple(label) for label in described["labels"])
    return kind(module=described["module"], **fields)
