"""Generation of many continuations at once, each under its own edit, exactly as if generated one token at a time.

A prompt that was read is not read again: an edit of weights at layer l repeats only the layers from l on. Where there
is a guess at what comes out (the target of the edit, or the unedited answer), one pass over the guess yields all tokens
up to the first that differs: greedy decoding has the same output with and without a guess.

Source: the check of a guess is greedy speculative decoding, Leviathan et al. 2023 (arXiv 2211.17192), section 2, at
temperature 0, with a fixed draft in the place of a draft model.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.edits import AppliedEdits, Edit, applied
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.preamble import check_fits
from clmeeval_data.evaluation.model.prefix import Prefix, Tokens, pad, read_again, read_complete, states_of
from clmeeval_data.evaluation.model.room import RoomyLayer, cache_with_room
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank

COMPACT_BELOW = 0.7  # the cache is copied without its padding when at most this share of the copied rows still runs


@dataclass(frozen=True)
class Continuation:
    """One text to generate: after row ``prompt`` of the prefix, under edit ``edit``, at most ``tokens`` tokens.

    ``drafts``: guesses at the output, tried in this order. ``sampling``: None for greedy decoding.
    """

    prompt: int
    edit: int
    tokens: int
    drafts: tuple[tuple[int, ...], ...] = ()
    sampling: "Sampling | None" = None


@dataclass(frozen=True)
class Sampling:
    """Top-k sampling that depends on nothing but its seed and the logits: not on the batch, nor on the device."""

    top_k: int
    seed: str

    def uniforms(self, tokens: int) -> Tensor:
        """One number in [0, 1) per token to come, shape (tokens,)."""
        number = int.from_bytes(hashlib.sha256(self.seed.encode()).digest()[:8], "big", signed=True)
        return torch.rand(tokens, generator=torch.Generator().manual_seed(number), dtype=torch.float64)

    def choose(self, logits: Tensor, uniform: float) -> int:
        """The token at which the distribution over the k likeliest tokens passes ``uniform``; logits: (vocabulary,)."""
        return drawn(logits[None], [self.top_k], [uniform])[0]


def drawn(logits: Tensor, top_k: Sequence[int], uniforms: Sequence[float]) -> list[int]:
    """For every row, the token at which the distribution over its k likeliest tokens passes a number in [0, 1).

    Args:
        logits: Shape (rows, vocabulary).
        top_k: k of each row.
        uniforms: The number of each row.
    """
    found = logits.topk(max(top_k))
    ranks = torch.arange(max(top_k), device=logits.device)
    beyond = ranks >= torch.tensor(top_k, device=logits.device)[:, None]
    shares = found.values.double().masked_fill(beyond, -torch.inf).softmax(-1).cumsum(-1)
    passed = shares > torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None]
    tokens: list[int] = found.indices.gather(1, passed.int().argmax(-1, keepdim=True))[:, 0].tolist()
    return tokens


@torch.no_grad()
def generate(
    lm: LanguageModel, prefix: Prefix, edits: Sequence[Edit], continuations: Sequence[Continuation]
) -> list[list[int]]:
    """Generated token ids of each continuation, without the end-of-text token.

    Args:
        lm: The model.
        prefix: The prompts, read on the unedited model.
        edits: Independent edits.
        continuations: What to generate.

    Raises:
        EditError: If an edit belongs to another model.
        CaseError: If a prompt no longer fits into the model's context behind its edit's preamble.
    """
    pairs = list(dict.fromkeys((one.prompt, one.edit) for one in continuations))
    with applied(lm, edits) as live:
        live.at(None)
        live.rows = torch.tensor([edit for _, edit in pairs])
        encoded = _encoded(lm, edits)
        if any(edit.preamble for edit in edits):
            read = _with_preambles(lm, live, prefix, edits, pairs, list(encoded.values()))
        else:
            read = _under_weights(lm, live, prefix, edits, pairs, list(encoded.values()))
        where = [pairs.index((one.prompt, one.edit)) for one in continuations]
        decoder = _Decoder(lm, live, read.select(where), continuations, encoded)
        return decoder.run()


def _under_weights(
    lm: LanguageModel,
    live: AppliedEdits,
    prefix: Prefix,
    edits: Sequence[Edit],
    pairs: Sequence[tuple[int, int]],
    encoded: Sequence[int],
) -> Prefix:
    """The prompts as the edited weights read them, with the mean keys that codebooks with an encoder look at."""
    weights = [u for edit in edits for u in edit.updates if isinstance(u, LowRank | Dense)]
    changed = {_layer(lm, update.module) for update in weights}
    unknown = {layer for layer in encoded if layer not in prefix.pooled}
    asked = prefix.select([prompt for prompt, _ in pairs])

    def begin(rows: Sequence[int]) -> None:
        live.rows = torch.tensor([pairs[row][1] for row in rows])

    return read_again(lm, asked, min(changed | unknown), encoded, begin) if changed | unknown else asked


def _with_preambles(
    lm: LanguageModel,
    live: AppliedEdits,
    prefix: Prefix,
    edits: Sequence[Edit],
    pairs: Sequence[tuple[int, int]],
    encoded: Sequence[int],
) -> Prefix:
    """The prompts behind the preambles of their edits, read from the start."""
    texts = []
    for prompt, edit in pairs:
        found = edits[edit].preamble
        before = [] if found is None else found.ids.tolist()
        own = prefix.tokens.ids[prompt][prefix.tokens.mask[prompt]].tolist()
        check_fits(lm, len(before), len(own))
        texts.append([*before, *own])

    def begin(rows: Sequence[int]) -> None:
        live.rows = torch.tensor([pairs[row][1] for row in rows])

    return read_complete(lm, texts, encoded, begin)


def _encoded(lm: LanguageModel, edits: Sequence[Edit]) -> dict[str, int]:
    """The modules with a codebook that has an encoder, and their layers.

    Raises:
        EditError: If one is not an MLP output map, whose inputs a prefix keeps.
    """
    books = [u for edit in edits for u in edit.updates if isinstance(u, Codebook) and u.encoder is not None]
    found = {book.module: _layer(lm, book.module) for book in books}
    for module, layer in found.items():
        if module != lm.map.mlp_output_name(layer):
            raise EditError(
                f"generation keeps no mean input of {module}, which has a codebook with an encoder. "
                f"Expected an MLP output map such as {lm.map.mlp_output_name(layer)}."
            )
    return found


def _layer(lm: LanguageModel, module: str) -> int:
    """The decoder layer a module is in; 0 for modules outside of the layers."""
    prefix = f"{lm.map.layers}."
    return int(module[len(prefix) :].split(".", maxsplit=1)[0]) if module.startswith(prefix) else 0


class _Decoder:
    """The rows that still run: their cache, which of its slots are real, and the token each feeds next."""

    def __init__(
        self,
        lm: LanguageModel,
        live: AppliedEdits,
        prefix: Prefix,
        wanted: Sequence[Continuation],
        encoded: Mapping[str, int],
    ) -> None:
        self.lm, self.live, self.wanted = lm, live, wanted
        self.outputs: list[list[int]] = [[] for _ in wanted]
        self.rows = list(range(len(wanted)))  # row of the batch -> continuation
        self.cache, self.mask = cache_with_room(*states_of(prefix.cache())), prefix.tokens.mask[:, :-1]
        self.copied = len(wanted)  # rows of the batch when the cache was last copied
        self.pending = prefix.last_tokens()[:, 0].tolist()
        room = (lm.context_length - prefix.lengths[:, 0]).tolist()  # a text ends where the model's context does
        self.tokens = [min(one.tokens, left) for one, left in zip(wanted, room, strict=True)]
        self.uniforms = [one.sampling.uniforms(one.tokens).tolist() if one.sampling else [] for one in wanted]
        lookup, before = torch.zeros(len(wanted), dtype=torch.long), prefix.lengths - 1
        # the first pass begins with the last prompt token; of the earlier ones a codebook's encoder needs the sum
        self.live.at(lookup, before, {module: prefix.summed(layer) for module, layer in encoded.items()})

    def run(self) -> list[list[int]]:
        """Check the drafts, then decode what they leave open."""
        for attempt in range(max(len(one.drafts) for one in self.wanted)):
            self._step([self._guess(row, attempt) for row in self.rows])
        while self.rows:
            self._step([[] for _ in self.rows])
        return self.outputs

    def _guess(self, index: int, attempt: int) -> list[int]:
        one, done = self.wanted[index], self.outputs[index]
        if self._finished(index) or attempt >= len(one.drafts):
            return []
        draft = list(one.drafts[attempt][: self.tokens[index] - 1])  # the last token comes without a guess
        return draft[len(done) :] if draft[: len(done)] == done else []

    def _step(self, guesses: list[list[int]]) -> None:
        """Feed every row its pending token and its guess, and keep what greedy decoding would have produced."""
        if not self.rows:
            return
        tokens = pad([[first, *guess] for first, guess in zip(self.pending, guesses, strict=True)], self.lm.pad_id,
                     self.lm.device, "right")  # fmt: skip
        logits = self._forward(tokens)
        chosen = logits.argmax(-1).tolist()
        for row, token in self._drawn(logits):
            chosen[row] = [token]
        kept = tokens.mask.clone()
        for row, guess in enumerate(guesses):
            taken = self._take(self.rows[row], guess, chosen[row])
            kept[row, taken:] = False
        self.mask = torch.cat([self.mask, kept], dim=-1)
        self._drop_finished(kept.all(-1).tolist())

    def _forward(self, tokens: Tokens) -> Tensor:
        self.live.rows = torch.tensor([self.wanted[index].edit for index in self.rows])
        logits: Tensor = self.lm.model(
            input_ids=tokens.ids,
            attention_mask=torch.cat([self.mask, tokens.mask], dim=-1).long(),
            position_ids=tokens.positions(self.mask.sum(-1, keepdim=True)),
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        self.live.at(None)
        return logits

    def _drawn(self, logits: Tensor) -> list[tuple[int, int]]:
        """The rows of sampled texts and the token that each draws; logits: (rows, tokens, vocabulary)."""
        texts = [(row, index, self.wanted[index].sampling) for row, index in enumerate(self.rows)]
        drawing = [(row, index, one.top_k) for row, index, one in texts if one and not self._finished(index)]
        if not drawing:
            return []
        rows, indices, top_k = zip(*drawing, strict=True)
        uniforms = [self.uniforms[index][len(self.outputs[index])] for index in indices]
        return list(zip(rows, drawn(logits[list(rows), 0], top_k, uniforms), strict=True))

    def _take(self, index: int, guess: list[int], chosen: list[int]) -> int:
        """Extend one output; returns how many of the fed tokens are part of the text."""
        output = self.outputs[index]
        if self._finished(index):
            return 0
        taken = 0
        for position, token in enumerate(chosen[: len(guess) + 1]):
            taken = position + 1
            output.append(token)
            if token in self.lm.stop_ids or len(output) == self.tokens[index]:
                break
            if position < len(guess) and guess[position] != token:
                break
        return taken

    def _finished(self, index: int) -> bool:
        output = self.outputs[index]
        return len(output) >= self.tokens[index] or (bool(output) and output[-1] in self.lm.stop_ids)

    def _drop_finished(self, whole: Sequence[bool]) -> None:
        """Drop the rows that are done, and the gaps that rejected guesses left in the others.

        A row that is done gives its place to the last one that is not; once in a while all are copied, to be rid of
        padding that nobody needs any more. ``whole``: the rows without a gap at their end.
        """
        running = [row for row, index in enumerate(self.rows) if not self._finished(index)]
        for index in self.rows:
            if self._finished(index):
                self._strip_stop(index)
        if not running:
            self.rows = []
            return
        if len(running) <= COMPACT_BELOW * self.copied or not all(whole[row] for row in running):
            self._keep(running)
        elif len(running) < len(self.rows):
            self._close_ranks(running)
        self.pending = [self.outputs[index][-1] for index in self.rows]

    def _close_ranks(self, running: Sequence[int]) -> None:
        """Move the last rows that run into the places of those that are done, and forget the places behind them."""
        count = len(running)
        free = sorted(set(range(count)) - set(running))
        moved = running[count - len(free) :]
        into, of = (torch.tensor(places, dtype=torch.long, device=self.mask.device) for places in (free, moved))
        for layer in self.cache.layers:
            if isinstance(layer, RoomyLayer):
                layer.move(into, of, count)
        self.mask[into] = self.mask[of]
        self.mask = self.mask[:count]
        rows = list(self.rows)
        for place, row in zip(free, moved, strict=True):
            rows[place] = rows[row]
        self.rows = rows[:count]

    def _strip_stop(self, index: int) -> None:
        output = self.outputs[index]
        if output and output[-1] in self.lm.stop_ids:
            output.pop()

    def _keep(self, rows: list[int]) -> None:
        """Keep these rows alone, with their padding moved to the left.

        In a row without gaps, slots are as far apart as tokens: the windows and biases of some models count slots.
        """
        index = torch.tensor(rows, device=self.mask.device)
        mask = self.mask[index]
        slots = mask.long().argsort(dim=-1, stable=True)[:, -int(mask.sum(-1).max()) :]  # padding comes first

        def pick(tensor: Tensor) -> Tensor:
            on = tensor.device
            return tensor.transpose(1, 2)[index.to(on)[:, None], slots.to(on)].transpose(1, 2)

        keys, values = states_of(self.cache)
        self.cache = cache_with_room([pick(key) for key in keys], [pick(value) for value in values])
        self.mask = mask.gather(1, slots)
        self.rows = [self.rows[row] for row in rows]
        self.copied = len(rows)
