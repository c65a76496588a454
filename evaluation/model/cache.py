"""The cache of keys and values that a model grows, made from tensors and taken apart again."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


class CompleteCache(DynamicCache):
    """The cache of a text whose tokens include its preamble: none is put in front of them."""


def cache_of(keys: Sequence[Tensor], values: Sequence[Tensor]) -> DynamicCache:
    """A cache over existing keys and values, without copying them."""
    cache = CompleteCache() if keys else DynamicCache()  # what is in it stands behind its preamble already
    for key, value in zip(keys, values, strict=True):
        layer = DynamicLayer()
        layer.dtype, layer.device = key.dtype, key.device
        layer.keys, layer.values, layer.is_initialized = key, value, True
        cache.layers.append(layer)
    return cache


def states_of(cache: DynamicCache) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The keys and the values in a cache, per layer."""
    layers = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    return tuple(cast(Tensor, layer.keys) for layer in layers), tuple(cast(Tensor, layer.values) for layer in layers)
