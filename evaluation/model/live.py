"""Edits in force: which one each row of a pass runs under, and where in the row its prompt ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.passes import Change, PromptPart


@dataclass(frozen=True)
class _Told:
    lookup: Tensor | None
    count: Tensor | None
    earlier: Mapping[str, Tensor]


class AppliedEdits:
    """Edits in force. Which edit each row of a batch runs under, and where in a row the last prompt token is.

    ``rows``: index of the edit for each row, shape (rows,); None: every row under edit 0 if there is one edit, row i
    under edit i if there are more. ``shift``: tokens that the present pass has on the left beyond its caller's.
    """

    def __init__(self, count: int) -> None:
        self.rows: Tensor | None = None
        self.shift: Callable[[], int] = lambda: 0
        self._count = count
        self._lookup: Tensor | None = None
        self._part: PromptPart | None = None
        self._told: _Told | None = None

    def at(
        self, lookup: Tensor | None, count: Tensor | None = None, earlier: Mapping[str, Tensor] | None = None
    ) -> None:
        """Say where the last prompt token of each row is in the passes to come.

        Args:
            lookup: Index of the token, shape (rows,); None: nowhere.
            count: How many tokens of each prompt earlier passes have read, shape (rows, 1).
            earlier: By module, the sum of its input over those, shape (rows, f). A codebook with an encoder needs it.
        """
        self._told = _Told(lookup, count, earlier or {})

    def edits_of(self, rows: int) -> Tensor:
        """Index of the edit each row of a batch runs under, shape (rows,).

        Raises:
            EditError: If ``rows`` does not say it for this batch.
        """
        told = self.rows
        if told is None:
            told = torch.arange(rows) if self._count > 1 else torch.zeros(rows, dtype=torch.long)
        if len(told) != rows or int(told.max()) >= self._count:
            raise EditError(f"{rows} rows run under {self._count} edits: say in live.rows which under which.")
        return told

    def find_lookup(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Where nothing was said: a pass with an empty cache reads the prompt, any other pass reads answers."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        ids = kwargs.get("inputs_embeds") if ids is None else ids
        cache, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        begun = cache is not None and cache.get_seq_length() > 0
        self._lookup = self._part = None
        if ids is None or (self._told.lookup is None if self._told else begun):
            return
        order = torch.arange(ids.shape[1], device=ids.device)
        own = torch.ones(ids.shape[:2], dtype=torch.bool, device=ids.device)
        if mask is not None and mask.dim() == 2:  # (rows, tokens)
            own = mask[:, -ids.shape[1] :].to(ids.device).bool()
        told = self._told or _Told(None, None, {})
        lookup = (own * order).argmax(-1) if told.lookup is None else told.lookup.to(ids.device) + self.shift()
        unknown = torch.zeros(len(own), 1, device=ids.device) if begun else None
        self._lookup = lookup
        self._part = PromptPart(
            own & (order <= lookup[:, None]), unknown if told.count is None else told.count, told.earlier
        )

    def change(self, changes: Sequence[Change], inputs: Tensor, output: Tensor) -> Tensor:
        """A module's output under the edits."""
        rows = self.edits_of(inputs.shape[0]).to(inputs.device)
        lookup = None if self._lookup is None else self._lookup.to(inputs.device)
        for one in changes:
            output = one(inputs, output, rows, lookup, self._part)
        return output
