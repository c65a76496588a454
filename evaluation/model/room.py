"""A cache of keys and values with room for tokens to come: a decoder writes into it in place and drops rows cheaply."""

from collections.abc import Sequence

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from clmeeval_data.evaluation.model.cache import CompleteCache

ROOM = 64  # tokens by which a cache that is full grows at once


class RoomyLayer(DynamicLayer):
    """A layer's cache that is written into in place, with room for tokens to come: without it every token copies it."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers gives it no types
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._rows, self._used = keys.shape[0], keys.shape[2]
        self._held = tuple(_grown(states, self._used + ROOM) for states in (keys, values))
        self._show()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the tokens' keys and values; returns all."""
        start, self._used = self._used, self._used + key_states.shape[2]
        if self._used > self._held[0].shape[2]:
            self._held = tuple(_grown(states[: self._rows], self._used + ROOM) for states in self._held)
        for held, new in zip(self._held, (key_states, value_states), strict=True):
            held[: self._rows, :, start : self._used] = new
        return self._show()

    def move(self, into: Tensor, of: Tensor, count: int) -> None:
        """Write rows ``of`` in the place of rows ``into``, and keep the first ``count`` rows alone."""
        for held in self._held:
            held[into.to(held.device), :, : self._used] = held[of.to(held.device), :, : self._used]
        self._rows = count
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        keys, values = (held[: self._rows, :, : self._used] for held in self._held)
        self.keys, self.values = keys, values
        return keys, values


def _grown(states: Tensor, tokens: int) -> Tensor:
    """The same states with room for as many tokens, shape (rows, heads, tokens, width)."""
    rows, heads, used, width = states.shape
    grown = states.new_empty(rows, heads, tokens, width)
    grown[:, :, :used] = states
    return grown


def cache_with_room(keys: Sequence[Tensor], values: Sequence[Tensor]) -> DynamicCache:
    """A cache over copies of keys and values, one tensor of shape (rows, heads, tokens, width) per layer."""
    cache = CompleteCache() if keys else DynamicCache()
    cache.layers.extend(RoomyLayer(key, value) for key, value in zip(keys, values, strict=True))
    return cache
