"""A preamble: tokens that the model reads before every prompt. The edit of in-context editing.

A pass that begins a text gets the preamble's tokens in front of its own, and its logits are cut back to the caller's;
later passes find them in the cache. What the model computes is what it computes for preamble and prompt as one text.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, StaticCache

from clmeeval_data.errors import CaseError, EditError
from clmeeval_data.evaluation.model.cache import CompleteCache
from clmeeval_data.evaluation.model.lm import LanguageModel

IGNORED = -100  # label of tokens that a loss leaves out


@dataclass(frozen=True, eq=False)
class Preamble:
    """Tokens before every prompt. ``ids``: shape (n,), integers. ``text``: what they say.

    ``module``: the empty name, that of the model as a whole. Static caches are refused under a preamble.
    """

    ids: Tensor
    text: str = ""
    module: ClassVar[str] = ""

    def plus(self, later: "Preamble") -> "Preamble":
        """This preamble, then the later one."""
        return Preamble(torch.cat([self.ids, later.ids.to(self.ids)]), self.text + later.text)


def check_fits(lm: LanguageModel, preamble: int, prompt: int) -> None:
    """Refuse a prompt that leaves no room after its preamble; both in tokens.

    Raises:
        CaseError: If the two fill the model's context.
    """
    if preamble + prompt >= lm.context_length:
        raise CaseError(
            f"preamble and prompt have {preamble} and {prompt} tokens; the context of {lm.name} holds "
            f"{lm.context_length}. Leave the case out, or take a model with a longer context."
        )


class PreamblesInForce:
    """Puts each row's preamble in front of it, as two hooks on the model: before and after a pass.

    Args:
        lm: The model.
        preambles: Of every edit; None for an edit without one.
        edits_of: Which edit each row of a batch of some size runs under, shape (rows,).
    """

    def __init__(
        self, lm: LanguageModel, preambles: Sequence[Preamble | None], edits_of: Callable[[int], Tensor]
    ) -> None:
        self._lm, self._edits_of = lm, edits_of
        lengths = [0 if one is None else len(one.ids) for one in preambles]
        self._width = max(lengths)
        self._ids = torch.full((len(preambles), self._width), lm.pad_id)
        self._mask = torch.arange(self._width) >= self._width - torch.tensor(lengths)[:, None]
        for index, one in enumerate(preambles):
            if one is not None:
                self._ids[index, self._width - lengths[index] :] = one.ids
        self._begun: WeakSet[DynamicCache] = WeakSet()  # caches that hold the preambles
        self._asked: int | None = None  # tokens of the caller, in a pass that was widened

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What the pass reads instead."""
        given = {**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs}
        cache, self._asked = given.get("past_key_values"), None
        if isinstance(cache, CompleteCache):
            return args, kwargs
        if isinstance(cache, StaticCache):
            raise EditError("a static cache has no room for a preamble. Leave cache_implementation out.")
        seen = 0 if cache is None else cache.get_seq_length()
        if seen and cache not in self._begun:
            return args, kwargs
        return (), self._continued(given, seen) if seen else self._opened(given)

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The output for the caller's own tokens: logits and hidden states."""
        if self._asked is None:
            return output
        if isinstance(output, tuple):
            raise EditError("under a preamble the model cannot answer with a tuple. Leave return_dict out.")
        cache = output.get("past_key_values")
        if cache is not None:
            self._begun.add(cache)
        output["logits"] = output["logits"][:, -self._asked :]
        if output.get("hidden_states") is not None:
            output["hidden_states"] = tuple(states[:, -self._asked :] for states in output["hidden_states"])
        return output

    @property
    def shift(self) -> int:
        """By how many tokens the present pass was widened on the left."""
        return 0 if self._asked is None else self._width

    def _opened(self, given: dict[str, Any]) -> dict[str, Any]:
        """A pass that begins a text: preamble, then the caller's tokens with their padding as it was."""
        tokens = _read_by(given)
        rows, asked, device = tokens.shape[0], tokens.shape[1], tokens.device
        edits = self._rows(rows)
        mask = given.get("attention_mask")
        own = torch.ones(rows, asked, dtype=torch.long, device=device) if mask is None else _flat(mask)
        front = self._mask[edits].to(own)
        mask = torch.cat([front, own], 1)
        self._check(mask)
        changed = {"attention_mask": mask, "position_ids": _positions(mask, given.get("position_ids"), front)}
        ids = self._ids[edits].to(device)
        if given.get("input_ids") is not None:
            changed["input_ids"] = torch.cat([ids, tokens], 1)
        else:
            embedded = self._lm.model.get_input_embeddings()(ids)
            changed["inputs_embeds"] = torch.cat([embedded.to(tokens), tokens], 1)
        if given.get("labels") is not None:
            changed["labels"] = torch.cat([torch.full_like(ids, IGNORED).to(given["labels"]), given["labels"]], 1)
        if isinstance(given.get("logits_to_keep"), Tensor):
            changed["logits_to_keep"] = given["logits_to_keep"] + self._width
        if given.get("cache_position") is not None:
            changed["cache_position"] = torch.arange(mask.shape[1], device=device)
        self._asked = asked
        return given | changed

    def _continued(self, given: dict[str, Any], seen: int) -> dict[str, Any]:
        """A pass over later tokens of a text: its cache begins with the preamble, of which the caller knows nothing."""
        tokens = _read_by(given)
        rows, new, device = tokens.shape[0], tokens.shape[1], tokens.device
        mask, positions = given.get("attention_mask"), given.get("position_ids")
        if mask is not None and _flat(mask).shape[1] == seen + new:  # made from the cache, preamble and all
            return given
        known = seen + new - self._width
        own = torch.ones(rows, known, dtype=torch.long, device=device) if mask is None else mask
        told = own.shape[1] if mask is not None or positions is None else int(positions.max()) + 1
        if told != known:
            raise EditError(
                f"a pass ends at token {told} of its text, and the cache, without its preamble, at token {known}. "
                "Count the text's own tokens alone, or leave mask and positions out."
            )
        front = self._mask[self._rows(rows)].to(own)
        mask = torch.cat([front, own], 1)
        positions = positions + front.sum(-1, keepdim=True) if positions is not None else _positions(mask)[:, -new:]
        changed = {"attention_mask": mask, "position_ids": positions}
        if given.get("cache_position") is not None:
            changed["cache_position"] = torch.arange(seen, seen + new, device=device)
        return given | changed

    def _rows(self, rows: int) -> Tensor:
        return self._edits_of(rows).cpu()

    def _check(self, mask: Tensor) -> None:
        longest = int(mask.sum(-1).max())
        if longest > self._lm.context_length:
            raise CaseError(
                f"with its preamble a text has {longest} tokens; the context of {self._lm.name} holds "
                f"{self._lm.context_length}. Leave the case out, or take a model with a longer context."
            )


def _read_by(given: dict[str, Any]) -> Tensor:
    """What the caller's pass reads: ids of shape (rows, tokens), or embeddings of shape (rows, tokens, d)."""
    tokens: Tensor = given["inputs_embeds"] if given.get("input_ids") is None else given["input_ids"]
    return tokens


def _flat(mask: Tensor) -> Tensor:
    if mask.dim() != 2:  # (rows, tokens)
        raise EditError(
            f"an attention mask of {mask.dim()} dimensions cannot be extended by a preamble. "
            "Expected one of shape (rows, tokens)."
        )
    return mask


def _positions(mask: Tensor, own: Tensor | None = None, front: Tensor | None = None) -> Tensor:
    """Position of every token in its row; positions that the caller gives move behind the preamble."""
    counted = (mask.long().cumsum(-1) - 1).clamp_min(0)
    if own is None or front is None:
        return counted
    moved = own.to(mask.device) + front.long().sum(-1, keepdim=True)
    return torch.cat([counted[:, : front.shape[1]], moved], 1)
