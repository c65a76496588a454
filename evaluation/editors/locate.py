"""What locate-then-edit methods (ROME, MEMIT, PMET and their relatives) share before they write into weights.

A request is asked in several contexts; a vector added at its lookup token makes the model say the target, while the
next token of a KL prompt stays what it was. Where the lookup token and the KL prompt are is a setting, and so are the
released code's ways of doing both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED, Lookup, lookup_of
from clmeeval_data.evaluation.editors.search import Fit, Place, Search, Terms, fit_vectors, stop_below
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Prefix, Tokens, pad, read_ids, read_padded, read_prompts, run_suffix

OPENINGS = ("The", "Therefore", "Because", "I", "You")


@dataclass(frozen=True)
class LocateConfig(EditorConfig):
    """Settings of the search for the vector.

    ``learning_rate``, ``steps``, ``stop_loss``: of Adam; ``stop_worst``: a request whose worst target token has a
    smaller loss is done (0: never for that reason). ``kl_factor``: weight of KL(edited || original) of the token after
    the KL prompt. ``decay``: weight of |delta| / |v0|^2. ``clamp``: |delta| is at most this many times |v0|.
    ``contexts``: how many texts sampled from the model are set before the prompt, beside the plain prompt;
    ``context_tokens``: their length; ``seed``: of these. ``lookup``: the edited token, the last of the prompt (the
    benchmark's choice) or the last of its content, before the final line with the template's label. ``kl_at``: a
    neutral prompt, ``kl_prompt``, or the request's own. ``positions``: where lookup token and target are in padded
    rows, told by the attention mask, or, as in the released code, counted as if rows were padded on the right while
    they are padded on the left.
    """

    learning_rate: float = 0.5
    steps: int = 25
    stop_loss: float = 0.05
    stop_worst: float = 0.0
    kl_factor: float = 0.0625
    kl_prompt: str = "Intent: do nothing\nCode:"
    decay: float = 0.001
    clamp: float = 4.0
    contexts: int = 5
    context_tokens: int = 10
    seed: int = 0
    lookup: Literal["prompt_end", "content_end"] = "prompt_end"
    kl_at: Literal["neutral", "prompt"] = "neutral"
    positions: Literal["mask", "released"] = "mask"

    reference: ClassVar[Mapping[str, Any]] = {"lookup": "prompt_end", "kl_at": "prompt", "positions": "released"}

    def __post_init__(self) -> None:
        self._require(self.steps >= 1, "steps", "at least 1")
        self._require(self.learning_rate > 0, "learning_rate", "a number above 0")
        self._require(0 <= self.contexts <= len(OPENINGS), "contexts", f"0 to {len(OPENINGS)}")
        self._require(self.clamp > 0, "clamp", "a number above 0")
        neutral = self.kl_factor == 0 or self.kl_at == "prompt"
        self._require(bool(self.kl_prompt) or neutral, "kl_prompt", "a text, or kl_factor = 0")


@dataclass(frozen=True)
class Question:
    """Requests, asked: ``rows`` by request with the plain prompt first, and the rows that have to keep their answer."""

    rows: Lookup
    kept: Lookup | None

    def sizes(self, values: Tensor) -> Tensor:
        """Norm of a vector (rows, d) in each request's plain row, shape (requests,)."""
        sizes: Tensor = values[self.rows.first_rows()].float().norm(dim=-1)
        return sizes


def ask(
    lm: LanguageModel,
    config: LocateConfig,
    contexts: Sequence[str],
    requests: Sequence[EditRequest],
    layer: int,
    first: int | None = None,
    attention: bool = False,
) -> Question:
    """Run every request in every context up to the edited layer.

    Args:
        lm: The model.
        config: How to ask.
        contexts: What is set before the prompts, the plain prompt ("") first.
        requests: The requests.
        layer: The layer at whose output the vectors stand.
        first: A layer whose input is kept for all tokens up to the lookup token.
        attention: Whether to keep the attention's output at the lookup token.

    Raises:
        CaseError: If a prompt or target does not fit.
        ModelError: If the model has no such layer.
    """
    owners = [index for index in range(len(requests)) for _ in contexts]
    texts = [context + request.prompt for request in requests for context in contexts]
    targets = [lm.encode_target(request.prompt, request.target) for request in requests]
    rows = [_row(lm, config, text, targets[owner]) for text, owner in zip(texts, owners, strict=True)]
    keep = [] if first is None else [first]
    if config.positions == "released":
        found = _read_misplaced(lm, rows, owners, layer, keep, attention)
    else:
        known = read_prompts(lm, texts, keep) if config.lookup == "prompt_end" else None
        found = _read_rows(lm, rows, owners, layer, keep, attention, known)
    return Question(found, _kept(lm, config, requests, layer, attention) if config.kl_factor else None)


def ask_plainly(
    lm: LanguageModel, config: LocateConfig, requests: Sequence[EditRequest], layer: int, first: int | None = None
) -> Lookup:
    """The plain prompts up to the edited layer, in the right positions whatever the settings, without targets."""
    rows = [_row(lm, config, request.prompt, []) for request in requests]
    return _read_rows(lm, rows, range(len(rows)), layer, [] if first is None else [first])


def find_vectors(
    lm: LanguageModel,
    config: LocateConfig,
    question: Question,
    limits: Tensor,
    places: tuple[Place, ...] = ("mlp",),
    likelihood: Callable[[Terms], Tensor] = lambda terms: terms.nll,
    done: Callable[[Terms, Tensor], Tensor] | None = None,
) -> Fit:
    """The vectors that make the model answer every request's target, as additions to what it computes.

    Args:
        lm: The model.
        config: How to search.
        question: The requests, asked.
        limits: Largest norm of each vector, over ``config.clamp``, shape (requests, places).
        places: Where the vectors stand.
        likelihood: The part of the loss that the target has, shape (requests,).
        done: When a request is left as it is, from the terms and the losses; otherwise by ``config``.

    Source: ROME (arXiv 2202.05262), equation 4, with the released implementation's penalty |delta| / |v0|^2.
    """
    lookups = [question.rows] if question.kept is None else [question.rows, question.kept]

    def loss(terms: Terms, vectors: Tensor, of: Tensor) -> Tensor:
        penalty = (vectors.norm(dim=-1) / limits[of].square()).sum(-1)
        total: Tensor = likelihood(terms) + config.kl_factor * terms.divergence + config.decay * penalty
        return total

    search = Search(
        config.learning_rate,
        config.steps,
        added=True,
        loss=loss,
        done=done or stop_below(config.stop_loss, config.stop_worst),
        project=partial(within, limits=config.clamp * limits),
        places=places,
    )
    start = torch.zeros(len(limits), len(places), lm.map.d, device=question.rows.values.device)
    return fit_vectors(lm, lookups, start, search)


def within(vectors: Tensor, requests: Tensor, limits: Tensor) -> Tensor:
    """Vectors (requests, places, d) scaled back to their limits (requests, places) where they are longer."""
    scale = limits[requests][..., None] / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    scaled: Tensor = vectors * scale.clamp_max(1.0)
    return scaled


def sample_contexts(lm: LanguageModel, config: LocateConfig) -> list[str]:
    """What is set before a prompt, the plain prompt ("") first; depends on the model and the seed alone."""
    openings = OPENINGS[: config.contexts]
    if not openings:
        return [""]
    jobs = [
        Continuation(row, 0, config.context_tokens, sampling=Sampling(5, f"context|{config.seed}|{opening}"))
        for row, opening in enumerate(openings)
    ]
    outputs = generate(lm, read_prompts(lm, openings), [Edit((), lm.fingerprint, "none")], jobs)
    tails = [str(lm.tokenizer.decode(ids, skip_special_tokens=True)) for ids in outputs]
    return ["", *(" ".join((opening + tail).split()) + ". " for opening, tail in zip(openings, tails, strict=True))]


@dataclass(frozen=True)
class _Row:
    """``before``: ids up to and including the lookup token; ``after``: the rest of the prompt; ``target``."""

    before: list[int]
    after: list[int]
    target: list[int]

    @property
    def tail(self) -> list[int]:
        """What the model reads after the lookup token."""
        return [*self.after, *self.target[:-1]]

    @property
    def labels(self) -> list[int]:
        """The target token that the lookup token and each of the tail predict."""
        return [*([IGNORED] * len(self.after)), *(self.target or [IGNORED])]


def _row(lm: LanguageModel, config: LocateConfig, prompt: str, target: Sequence[int]) -> _Row:
    ids = lm.encode(prompt)
    cut = len(ids) if config.lookup == "prompt_end" else _content_length(lm, prompt)
    return _Row(ids[:cut], ids[cut:], list(target))


def _content_length(lm: LanguageModel, prompt: str) -> int:
    """How many tokens a prompt has before its final line, which is the template's label ("Code:")."""
    content, found, _ = prompt.rpartition("\n")
    if not found:
        return len(lm.encode(prompt))
    offsets = lm.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    return max(1, sum(int(start) < len(content) for start, _ in offsets))


def _kept(
    lm: LanguageModel, config: LocateConfig, requests: Sequence[EditRequest], layer: int, attention: bool
) -> Lookup:
    """The KL prompt of every request."""
    own = config.kl_at == "prompt"
    rows = [_row(lm, config, request.prompt if own else config.kl_prompt, []) for request in requests]
    kept = _read_rows(lm, rows, range(len(requests)), layer, attention=attention)
    return replace(kept, original=_next_token(lm, kept))


def _read_rows(
    lm: LanguageModel,
    rows: Sequence[_Row],
    owners: Sequence[int],
    layer: int,
    keep: Sequence[int] = (),
    attention: bool = False,
    known: Prefix | None = None,
) -> Lookup:
    lm.mlp_output(layer)
    prefix = known or read_ids(lm, [row.before for row in rows], keep)
    suffix = pad([[row.before[-1], *row.tail] for row in rows], lm.pad_id, lm.device, "right")
    return lookup_of(lm, prefix, suffix, _labels(rows, suffix), owners, layer, attention)


def _labels(rows: Sequence[_Row], suffix: Tokens) -> Tensor:
    labels = torch.full(suffix.ids.shape, IGNORED)
    for index, row in enumerate(rows):
        labels[index, : len(row.labels)] = torch.tensor(row.labels)
    return labels


def _read_misplaced(
    lm: LanguageModel,
    rows: Sequence[_Row],
    owners: Sequence[int],
    layer: int,
    keep: Sequence[int],
    attention: bool,
) -> Lookup:
    """The released code's reading: padded on the left, with the positions of rows padded on the right.

    Of a request's contexts only the longest one is aligned. In the others the lookup position is too far left by the
    length of the padding, in the padding itself if need be, and so are the positions that have to predict the target.
    """
    lm.mlp_output(layer)
    width = {o: max(len(r.before) + len(r.tail) for r, of in zip(rows, owners, strict=True) if of == o) for o in owners}
    texts, masks, columns = [], [], []
    for row, owner in zip(rows, owners, strict=True):
        gap = width[owner] - len(row.before) - len(row.tail)
        texts.append([lm.pad_id] * gap + row.before + row.tail)
        masks.append([False] * gap + [True] * (len(row.before) + len(row.tail)))
        columns.append(len(row.before))  # right for rows padded on the right
    before = pad([text[:end] for text, end in zip(texts, columns, strict=True)], lm.pad_id, lm.device, "left")
    suffix = pad([text[end - 1 :] for text, end in zip(texts, columns, strict=True)], lm.pad_id, lm.device, "right")
    for index, (mask, end) in enumerate(zip(masks, columns, strict=True)):
        before.mask[index, -end:] = torch.tensor(mask[:end])
        suffix.mask[index, : len(mask) - end + 1] = torch.tensor(mask[end - 1 :])
    prefix = read_padded(lm, before, keep)
    return lookup_of(lm, prefix, suffix, _labels(rows, suffix), owners, layer, attention)


@torch.no_grad()
def _next_token(lm: LanguageModel, rows: Lookup) -> Tensor:
    """Log-probabilities after each row's last token, shape (rows, vocabulary)."""
    logits = run_suffix(lm, rows.prefix, rows.suffix, rows.layer, rows.entering)
    last = rows.suffix.mask.sum(-1) - 1
    found: Tensor = logits[torch.arange(len(logits), device=logits.device), last].float().log_softmax(-1)
    return found
