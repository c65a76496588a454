"""What causality lets us compute once.

A prompt's tokens never look at what follows, so their keys and values are read once and serve the optimisation and all
generations after it. A layer's input does not depend on the layers above, so those below an edited layer run once.
Rows are independent, so many prompts are read in one batch. All three savings are exact.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_tensor
from transformers.cache_utils import DynamicCache

from clmeeval_data.evaluation.model.cache import CompleteCache, cache_of, states_of
from clmeeval_data.evaluation.model.hooks import (
    captured_inputs,
    changed_output,
    computed_at,
    ended_after,
    kept_positions,
    skipped_layers,
)
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.passes import PromptPart
from clmeeval_data.evaluation.model.tokens import Tokens, pad, parts_by_length

__all__ = [
    "Prefix",
    "PromptMemory",
    "Tokens",
    "cache_of",
    "layer_input",
    "pad",
    "prompts_remembered",
    "read_again",
    "read_complete",
    "read_ids",
    "read_prompts",
    "run_suffix",
    "states_of",
    "suffix_of",
]

PART_ROWS = 16  # prompts of similar length that are read together, at most


@dataclass(frozen=True)
class Prefix:
    """What reading a batch of prompts leaves behind.

    Prompts are padded on the left, so that every row ends at the lookup position. ``keys`` and ``values``: per layer,
    shape (rows, heads, tokens, head width). For the layers asked for, ``entering`` has the input of the decoder layer,
    shape (rows, tokens, d), ``looked_up`` the input of its MLP output map at the lookup position, shape (rows, f), and
    ``pooled`` the mean of that input over the prompt's own tokens, shape (rows, f), in float32.
    """

    tokens: Tokens
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    entering: dict[int, Tensor]
    looked_up: dict[int, Tensor]
    pooled: dict[int, Tensor] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many prompts."""
        return int(self.tokens.ids.shape[0])

    @property
    def lengths(self) -> Tensor:
        """Real tokens per prompt, shape (rows, 1)."""
        return self.tokens.mask.sum(-1, keepdim=True)

    def select(self, rows: Sequence[int]) -> "Prefix":
        """The given rows in the given order; a row may come more than once. Padding shared by all of them is cut."""
        index = torch.as_tensor(rows, device=self.tokens.ids.device)
        if list(rows) == list(range(self.rows)):
            return self
        mask = self.tokens.mask[index]
        width = max(1, int(mask.sum(-1).max()))

        def pick(tensor: Tensor, dim: int) -> Tensor:
            on = index.to(tensor.device)
            return tensor.narrow(dim, tensor.shape[dim] - width, width).index_select(0, on)

        return Prefix(
            Tokens(pick(self.tokens.ids, 1), pick(self.tokens.mask, 1)),
            tuple(pick(key, 2) for key in self.keys),
            tuple(pick(value, 2) for value in self.values),
            {layer: pick(hidden, 1) for layer, hidden in self.entering.items()},
            {layer: key.index_select(0, index.to(key.device)) for layer, key in self.looked_up.items()},
            {layer: mean.index_select(0, index.to(mean.device)) for layer, mean in self.pooled.items()},
        )

    def cache(self) -> DynamicCache:
        """Keys and values of all tokens but the last of each prompt, as a cache that a model can grow."""
        return cache_of([key[:, :, :-1] for key in self.keys], [value[:, :, :-1] for value in self.values])

    def summed(self, layer: int) -> Tensor:
        """Sum of the input of a layer's MLP output map over all tokens but the last of each prompt, shape (rows, f)."""
        pooled = self.pooled[layer]
        return pooled * self.lengths.to(pooled.device) - self.looked_up[layer].to(pooled.device, pooled.dtype)

    def last_tokens(self) -> Tensor:
        """The id at the lookup position of every row, shape (rows, 1)."""
        return self.tokens.ids[:, -1:]


class PromptMemory:
    """The prompts of one batch of cases, read once on the unedited model."""

    def __init__(self, prompts: Sequence[str], prefix: Prefix) -> None:
        self.prefix = prefix
        self._row = {prompt: row for row, prompt in enumerate(prompts)}

    def rows(self, prompts: Sequence[str]) -> list[int]:
        """The row of each prompt in ``prefix``."""
        return [self._row[prompt] for prompt in prompts]

    def find(self, prompts: Sequence[str], layers: Sequence[int]) -> Prefix | None:
        """The prompts' rows, or None if one of them, or one of the layers' inputs, is not kept."""
        if any(prompt not in self._row for prompt in prompts) or any(i not in self.prefix.entering for i in layers):
            return None
        return self.prefix.select(self.rows(prompts))


@contextmanager
def prompts_remembered(lm: LanguageModel, prompts: Sequence[str], prefix: Prefix) -> Iterator[PromptMemory]:
    """Inside the block ``read_prompts`` takes these prompts from memory, as long as no edit is applied."""
    memory = PromptMemory(prompts, prefix)
    lm.memory = memory
    try:
        yield memory
    finally:
        lm.memory = None


@torch.no_grad()
def read_prompts(lm: LanguageModel, prompts: Sequence[str], layers: Sequence[int] = ()) -> Prefix:
    """Run the model over prompts and keep what later tokens need.

    Args:
        lm: The model; what it computes now is what is kept, applied edits included.
        prompts: One text per row.
        layers: Decoder layers whose input is kept too.

    Raises:
        CaseError: If a prompt is empty or longer than the model's context.
    """
    if isinstance(lm.memory, PromptMemory) and not lm.edits_applied:
        found = lm.memory.find(prompts, layers)
        if found is not None:
            return found
    return read_ids(lm, [lm.encode(prompt) for prompt in prompts], layers)


@torch.no_grad()
def read_ids(lm: LanguageModel, ids: Sequence[Sequence[int]], layers: Sequence[int] = ()) -> Prefix:
    """``read_prompts`` for prompts that are given as token ids."""
    return _read_in_parts(lm, ids, layers, lambda rows: cache_of([], []))


@torch.no_grad()
def read_complete(
    lm: LanguageModel, ids: Sequence[Sequence[int]], layers: Sequence[int], begin: Callable[[Sequence[int]], None]
) -> Prefix:
    """``read_ids`` for prompts with their preambles written out, whatever preambles the edits in force have.

    Args:
        lm: The model.
        ids: Token ids, one list per row.
        layers: As in ``read_ids``.
        begin: Told which rows come before a part of them is read.
    """

    def cache(rows: Sequence[int]) -> DynamicCache:
        begin(rows)
        return CompleteCache()

    return _read_in_parts(lm, ids, layers, cache)


@torch.no_grad()
def read_padded(lm: LanguageModel, tokens: Tokens, layers: Sequence[int] = ()) -> Prefix:
    """``read_ids`` for a batch that is padded already, on the left, and may have rows of padding alone."""
    return _read(lm, tokens, layers, cache_of([], []))


def _read_in_parts(
    lm: LanguageModel,
    ids: Sequence[Sequence[int]],
    layers: Sequence[int],
    cache: Callable[[Sequence[int]], DynamicCache],
) -> Prefix:
    def tokens(part: Sequence[int]) -> Tokens:
        return pad([ids[row] for row in part], lm.pad_id, lm.device, "left")

    parts = parts_by_length([len(one) for one in ids], PART_ROWS, lm.device)
    return _in_order(parts, [_read(lm, tokens(part), layers, cache(part)) for part in parts], lm.pad_id)


def _in_order(parts: Sequence[Sequence[int]], read: Sequence[Prefix], pad_id: int) -> Prefix:
    """What was read in parts, as one."""
    place = {row: index for index, row in enumerate(row for part in parts for row in part)}
    return _joined(read, pad_id).select([place[row] for row in range(len(place))])


def _read(lm: LanguageModel, tokens: Tokens, layers: Sequence[int], cache: DynamicCache) -> Prefix:
    with (
        captured_inputs({layer: lm.layer_modules[layer] for layer in layers}) as entering,
        _observed(lm, layers) as seen,
    ):
        keys, values = states_of(_filled(lm, tokens, cache))
    return Prefix(seen.tokens[-1], keys, values, entering, seen.looked_up, seen.pooled)


@dataclass(frozen=True)
class _Observed:
    """Of passes over whole prompts: what they read, and for some layers what a prefix keeps of the MLP's inputs."""

    tokens: list[Tokens] = field(default_factory=list)
    looked_up: dict[int, Tensor] = field(default_factory=dict)
    pooled: dict[int, Tensor] = field(default_factory=dict)

    def read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The tokens of a pass, preambles of edits in force included."""
        self.tokens.append(Tokens(kwargs["input_ids"], kwargs["attention_mask"].bool()))

    def keep(self, layer: int, inputs: Tensor, output: Tensor) -> Tensor:
        """The input of a layer's MLP output map; the output as it is."""
        self.looked_up[layer] = inputs[:, -1].clone()
        self.pooled[layer] = PromptPart(self.tokens[-1].mask).mean(str(layer), inputs)
        return output


@contextmanager
def _observed(lm: LanguageModel, layers: Iterable[int]) -> Iterator[_Observed]:
    seen = _Observed()
    with ExitStack() as stack:
        stack.callback(lm.model.register_forward_pre_hook(seen.read, with_kwargs=True).remove)
        for layer in layers:
            stack.enter_context(changed_output(lm.mlp_output(layer), partial(seen.keep, layer)))
        yield seen


def _joined(parts: Sequence[Prefix], pad_id: int) -> Prefix:
    """Prefixes of different widths as one, padded on the left."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.tokens.ids.shape[1] for part in parts)

    def join(tensors: Sequence[Tensor], behind: int, value: int = 0) -> Tensor:
        """``behind``: how many dimensions follow the tokens."""
        gaps = [(0, 0) * behind + (width - tensor.shape[-1 - behind], 0) for tensor in tensors]
        return torch.cat([pad_tensor(tensor, gap, value=value) for tensor, gap in zip(tensors, gaps, strict=True)])

    ids, mask = (join([part.tokens[i] for part in parts], 0, value) for i, value in enumerate((pad_id, False)))
    keys, values = (
        tuple(join(states, 1) for states in zip(*(getattr(part, kind) for part in parts), strict=True))
        for kind in ("keys", "values")
    )
    entering = {layer: join([part.entering[layer] for part in parts], 1) for layer in parts[0].entering}
    looked_up = {layer: torch.cat([part.looked_up[layer] for part in parts]) for layer in parts[0].looked_up}
    pooled = {layer: torch.cat([part.pooled[layer] for part in parts]) for layer in parts[0].pooled}
    return Prefix(Tokens(ids, mask), keys, values, entering, looked_up, pooled)


@torch.no_grad()
def read_again(
    lm: LanguageModel,
    prefix: Prefix,
    layer: int,
    pooled: Sequence[int] = (),
    begin: Callable[[Sequence[int]], None] | None = None,
) -> Prefix:
    """The prefix as the model computes it now, given that nothing below ``layer`` has changed since it was read.

    Args:
        lm: The model.
        prefix: The prompts, read.
        layer: The lowest layer with a change. The layers below do not run if the prefix has this one's input.
        pooled: Layers whose ``looked_up`` and ``pooled`` are kept, beside those that the prefix has.
        begin: Told which rows come before a part of them is read; without it all are read at once.

    Source: a weight edit at one layer changes the inputs of the layers above it, and nothing below.
    """
    if begin is None:
        return _read_again(lm, prefix, layer, pooled)
    parts, read = parts_by_length(prefix.lengths[:, 0].tolist(), PART_ROWS, lm.device), []
    for part in parts:
        begin(part)
        read.append(_read_again(lm, prefix.select(part), layer, pooled))
    return _in_order(parts, read, lm.pad_id)


def _read_again(lm: LanguageModel, prefix: Prefix, layer: int, pooled: Sequence[int]) -> Prefix:
    entering = prefix.entering.get(layer)
    below = 0 if entering is None else layer
    cache = CompleteCache() if entering is None else cache_of(*_emptied(prefix))
    with ExitStack() as stack:
        if entering is not None:
            stack.enter_context(skipped_layers(lm.layer_modules, layer, entering))
        above = {index: lm.layer_modules[index] for index in prefix.entering if index > below}
        entered = stack.enter_context(captured_inputs(above))
        wanted = {*prefix.looked_up, *prefix.pooled, *pooled}
        seen = stack.enter_context(_observed(lm, [index for index in wanted if index >= below]))
        keys, values = states_of(_filled(lm, prefix.tokens, cache))
    return Prefix(
        prefix.tokens,
        (*prefix.keys[:below], *keys[below:]),
        (*prefix.values[:below], *values[below:]),
        prefix.entering | entered,
        prefix.looked_up | seen.looked_up,
        prefix.pooled | seen.pooled,
    )


def run_suffix(
    lm: LanguageModel,
    prefix: Prefix,
    suffix: Tokens,
    from_layer: int = 0,
    entering: Tensor | None = None,
    scored: Tensor | None = None,
) -> Tensor:
    """Logits after each suffix token, shape (rows, tokens, vocabulary); or after the scored ones, (n, vocabulary).

    Args:
        lm: The model.
        prefix: The prompts, read.
        suffix: Tokens padded on the right. The first of each row is the prompt's last token, computed again.
        from_layer: Layers below it are skipped.
        entering: Input of layer ``from_layer`` at the suffix tokens, needed when ``from_layer`` is above 0.
        scored: True at the suffix tokens whose logits are wanted, row by row, shape (rows, tokens); None: at all.
    """
    mask = torch.cat([prefix.tokens.mask[:, :-1], suffix.mask], dim=-1).long()
    head = lm.model.get_output_embeddings()
    with ExitStack() as stack:
        if scored is not None and head is not None:
            stack.enter_context(kept_positions(head, scored))
        if from_layer and entering is not None:
            stack.enter_context(skipped_layers(lm.layer_modules, from_layer, entering))
        logits: Tensor = lm.model(
            input_ids=suffix.ids,
            attention_mask=mask,
            position_ids=suffix.positions(prefix.tokens.mask[:, :-1].sum(-1, keepdim=True)),
            past_key_values=prefix.cache(),
            use_cache=True,
        ).logits
    if scored is None:
        return logits
    return logits[scored.to(logits.device)] if head is None else logits[0]


def suffix_of(lm: LanguageModel, prefix: Prefix, targets: Sequence[Sequence[int]]) -> Tokens:
    """The tokens at which the targets are predicted: each prompt's last token, then the target without its last."""
    last = prefix.last_tokens()[:, 0].tolist()
    return pad(
        [[first, *target[:-1]] for first, target in zip(last, targets, strict=True)], lm.pad_id, lm.device, "right"
    )


@torch.no_grad()
def layer_input(lm: LanguageModel, prefix: Prefix, suffix: Tokens, layer: int) -> Tensor:
    """The input of a decoder layer at the suffix tokens, shape (rows, tokens, d)."""
    with captured_inputs({layer: lm.layer_modules[layer]}) as entering, ended_after(lm.layer_modules[layer]):
        run_suffix(lm, prefix, suffix)
    return entering[layer]


def _filled(lm: LanguageModel, tokens: Tokens, cache: DynamicCache) -> DynamicCache:
    """The cache after the model has read the tokens."""
    last = torch.zeros_like(tokens.mask)
    last[:, -1] = True
    with computed_at(lm.last_mlp, last):  # no later token looks at what the last MLP makes of a prompt
        lm.model(
            input_ids=tokens.ids,
            attention_mask=tokens.mask.long(),
            position_ids=tokens.positions(),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return cache


def _emptied(prefix: Prefix) -> tuple[list[Tensor], list[Tensor]]:
    return [key[:, :, :0] for key in prefix.keys], [value[:, :, :0] for value in prefix.values]
