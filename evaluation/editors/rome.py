"""ROME: one MLP output map W gets a rank-one update that makes it write the wanted value for the prompt's key.

k* = mean key over contexts;  u = C^-1 k* / |C^-1 k*|;  v* = v0 + delta, delta by gradient descent
W' = W + ((v* - W k) / (k . u)) u^T     so that W' k = v* for the key k of the plain prompt
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Track, untracked
from clmeeval_data.evaluation.editors.lookup import (
    IGNORED,
    PART_ROWS,
    Lookup,
    Search,
    fit_vectors,
    read_lookup,
    target_losses,
)
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.model.updates import LowRank

OPENINGS = ("The", "Therefore", "Because", "I", "You")


@dataclass(frozen=True)
class RomeConfig(EditorConfig):
    """Settings of ROME.

    ``layer``: whose MLP output map is changed. ``learning_rate``, ``steps``, ``stop_loss``: of the search for delta.
    ``kl_factor``: weight of KL(edited || original) of the token after ``kl_prompt``. ``decay``: weight of
    |delta| / |v0|^2. ``clamp``: |delta| is at most this many times |v0|. ``contexts``: how many texts sampled from the
    model are set before the prompt, beside the plain prompt; ``context_tokens``: their length. ``seed``: of these.
    """

    layer: int
    learning_rate: float = 0.5
    steps: int = 25
    stop_loss: float = 0.05
    kl_factor: float = 0.0625
    kl_prompt: str = "Intent: do nothing\nCode:"
    decay: float = 0.001
    clamp: float = 4.0
    contexts: int = 5
    context_tokens: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        self._require(self.steps >= 1, "steps", "at least 1")
        self._require(self.learning_rate > 0, "learning_rate", "a number above 0")
        self._require(0 <= self.contexts <= len(OPENINGS), "contexts", f"0 to {len(OPENINGS)}")
        self._require(self.clamp > 0, "clamp", "a number above 0")
        self._require(bool(self.kl_prompt) or self.kl_factor == 0, "kl_prompt", "a text, or kl_factor = 0")

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The one changed layer."""
        return (self.layer,)


class Rome:
    """Rank-One Model Editing.

    Source: Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022 (arXiv 2202.05262), equations
    2 to 4. The benchmark sets C to the identity for its models. Two departures from its released code: positions are
    right under padding, and the KL term is taken on a neutral prompt rather than on the very token that has to change.
    """

    name: ClassVar[str] = "rome"
    summary: ClassVar[str] = "a rank-one update of one MLP"
    config_class: ClassVar[type[EditorConfig]] = RomeConfig

    def __init__(self, config: RomeConfig) -> None:
        self.config = config
        self._contexts: dict[str, list[str]] = {}

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Sample the contexts; fails early if the layer does not exist."""
        lm.mlp_output(self.config.layer)
        self.contexts(lm)

    def contexts(self, lm: LanguageModel) -> list[str]:
        """What is set before a prompt, the plain prompt ("") first. Depends on the model and the seed alone."""
        if lm.fingerprint not in self._contexts:
            self._contexts[lm.fingerprint] = ["", *self._sample_contexts(lm)]
        return self._contexts[lm.fingerprint]

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One request after another, each on the model as the earlier ones left it."""
        total = self.edit_each(lm, requests[:1])[0]
        for request in requests[1:]:
            with total.applied(lm):
                later = self.edit_each(lm, [request])[0]
            total = total + later
        return total

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A rank-one update for every request."""
        config = self.config
        asked = self._read(lm, requests)
        plain = [int((asked.owner == index).nonzero()[0]) for index in range(len(requests))]
        sizes = asked.values[plain].float().norm(dim=-1)
        parts, loss_of = asked.by_length(PART_ROWS), self._nll
        if config.kl_factor:
            neutral = read_lookup(
                lm, [config.kl_prompt] * len(requests), [[]] * len(requests), range(len(requests)), config.layer
            )
            parts, loss_of = [*parts, neutral], partial(self._loss, original=self._kl_original(lm))
        fit = fit_vectors(
            lm,
            parts,
            torch.zeros_like(asked.values[plain], dtype=torch.float32),
            Search(config.learning_rate, config.steps, config.stop_loss, added=True),
            loss_of,
            penalty=lambda deltas, of: config.decay * deltas.norm(dim=-1) / sizes[of.to(sizes.device)].square(),
            project=partial(_within, limits=config.clamp * sizes),
        )
        return [
            Edit(
                updates=(rank_one(lm.map.mlp_output_name(config.layer), fit.vectors[index], *_keys(asked, index)),),
                fingerprint=lm.fingerprint,
                method=self.name,
                config=config.as_dict(),
                case_ids=(request.case_id,),
                details={
                    "loss": fit.losses[index],
                    "steps": float(fit.steps[index]),
                    "delta_norm": float(fit.vectors[index].norm() / sizes[index]),
                },
            )
            for index, request in enumerate(requests)
        ]

    def _read(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Lookup:
        """Every request in every context, the plain prompt first."""
        contexts = self.contexts(lm)
        targets = [lm.encode_target(request.prompt, request.target) for request in requests]
        prompts = [context + request.prompt for request in requests for context in contexts]
        owners = [index for index in range(len(requests)) for _ in contexts]
        return read_lookup(lm, prompts, [targets[index] for index in owners], owners, self.config.layer)

    def _nll(self, logits: Tensor, rows: Lookup) -> Tensor:
        """Mean over a request's contexts of the target's negative log-likelihood, as a share per row."""
        return target_losses(logits, rows.labels) / (self.config.contexts + 1)

    def _loss(self, logits: Tensor, rows: Lookup, original: Tensor) -> Tensor:
        """The likelihood of a row with a target; KL(edited || original) of a row with the KL prompt."""
        if (rows.labels != IGNORED).any():
            return self._nll(logits, rows)
        edited = logits[:, 0].float().log_softmax(-1)
        divergence: Tensor = (edited.exp() * (edited - original.to(edited.device))).sum(-1)
        return self.config.kl_factor * divergence

    @torch.no_grad()
    def _kl_original(self, lm: LanguageModel) -> Tensor:
        """Log-probabilities of the token after the KL prompt, shape (vocabulary,), before the edit."""
        ids = torch.tensor([lm.encode(self.config.kl_prompt)], device=lm.device)
        logits: Tensor = lm.model(input_ids=ids, logits_to_keep=1).logits
        return logits[0, -1].float().log_softmax(-1)

    def _sample_contexts(self, lm: LanguageModel) -> list[str]:
        openings = OPENINGS[: self.config.contexts]
        if not openings:
            return []
        unedited = Edit((), lm.fingerprint, self.name)
        jobs = [
            Continuation(
                row, 0, self.config.context_tokens, sampling=Sampling(5, f"context|{self.config.seed}|{opening}")
            )
            for row, opening in enumerate(openings)
        ]
        outputs = generate(lm, read_prompts(lm, openings), [unedited], jobs)
        tails = [str(lm.tokenizer.decode(ids, skip_special_tokens=True)) for ids in outputs]
        return [" ".join((opening + tail).split()) + ". " for opening, tail in zip(openings, tails, strict=True)]


def _keys(lookup: Lookup, index: int) -> tuple[Tensor, Tensor]:
    """A request's key on the plain prompt and its mean key over the contexts, both of shape (f,)."""
    keys = lookup.keys[(lookup.owner == index).to(lookup.keys.device)].float()
    return keys[0], keys.mean(0)


def rank_one(module: str, delta: Tensor, key: Tensor, mean_key: Tensor) -> LowRank:
    """The rank-one update after which W' key = W key + delta.

    Args:
        module: Name of the changed module.
        delta: What the module's output has to change by, shape (d,).
        key: The plain prompt's key, shape (f,).
        mean_key: Gives the direction, shape (f,).

    Source: ROME, equation 2, with C = I.
    """
    direction = mean_key / mean_key.norm()
    return LowRank(module, (delta / (key @ direction))[:, None].clone(), direction[None].clone())


def _within(vectors: Tensor, requests: Tensor, limits: Tensor) -> Tensor:
    """Vectors scaled back to their limits where they are longer."""
    limit = limits[requests.to(limits.device)][:, None]
    scale: Tensor = limit / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return vectors * scale.clamp_max(1.0)
