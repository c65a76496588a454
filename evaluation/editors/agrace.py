"""A-GRACE: GRACE whose query is what a trained encoder makes of the whole prompt, so that other wordings are found too.

E(x) = second @ leaky_relu(first @ x + b, slope 0.5) + b of x, the MLP output map's mean input over the prompt's tokens
loss = mean over pairs of d^2 (prompt, rephrased prompt) or relu(margin - d)^2 (prompt, neighbour), d = |E(x) - E(x')|
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from clmeeval_data.evaluation.editors.contract import Case, EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig
from clmeeval_data.evaluation.editors.trained import Schedule, Trained, Trainer, required
from clmeeval_data.evaluation.model.codebook import SLOPE
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import PART_ROWS, read_prompts
from clmeeval_data.evaluation.model.updates import Codebook, Encoder

# The settings that the encoder is trained with: those of the file and of the editor have to agree.
ENCODER_SETTINGS = (
    "layer", "encoder_learning_rate", "encoder_decay", "encoder_batch", "encoder_epochs", "encoder_patience",
    "encoder_width", "embedding", "margin", "dropout", "far",
)  # fmt: skip


@dataclass(frozen=True)
class AGraceConfig(GraceConfig):
    """Settings of A-GRACE: those of GRACE, for the values and the radius, and those of the encoder.

    ``query``: "prompt", or "first_call" as in the released code, where only the first generation after the edit sees
    it. ``encoder_learning_rate``, ``encoder_decay``: of Adam. ``encoder_batch``: pairs of texts, in whole cases.
    ``encoder_epochs``: at most. ``encoder_patience``: epochs without a better validation loss. ``encoder_width``: of
    the encoder's hidden layer; 0 for a quarter of f. ``embedding``: width of a query. ``margin``: how far apart far
    texts are pushed. ``dropout``: share of the hidden layer, in training. ``far``: the pairs that are pushed apart:
    prompt and neighbours, or besides these the texts of different cases of a batch.
    """

    reference: ClassVar[Mapping[str, Any]] = {"query": "first_call"}

    query: Literal["prompt", "first_call"] = "prompt"
    encoder_learning_rate: float = 1e-4
    encoder_decay: float = 1e-4
    encoder_batch: int = 64
    encoder_epochs: int = 100
    encoder_patience: int = 5
    encoder_width: int = 0
    embedding: int = 256
    margin: float = 1.0
    dropout: float = 0.5
    far: Literal["neighbours", "batch"] = "neighbours"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder_batch", "encoder_epochs", "encoder_patience", "embedding"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(self.encoder_learning_rate > 0, "encoder_learning_rate", "a number above 0")
        self._require(self.encoder_decay >= 0, "encoder_decay", "0 or more")
        self._require(self.encoder_width >= 0, "encoder_width", "0 or more")
        self._require(self.margin > 0, "margin", "a number above 0")
        self._require(0 <= self.dropout < 1, "dropout", "0 or more, and below 1")


class AGrace(Grace):
    """GRACE with a contrastively trained encoder of its queries.

    Source: Li et al., "Model Editing for LLMs4Code: How Far are We?", ICSE 2025 (arXiv 2411.06638), section V, and its
    released code, revision 35b2c42. Departures: the query is made in every pass (there, from the second generation on
    it is the mean over no token); the encoder is selected on validation cases (there on the test file) and by their
    loss (there by the share of pairs on the right side of the radius, which the trained file reports); a case's pairs
    are in one batch.
    """

    name: ClassVar[str] = "agrace"
    summary: ClassVar[str] = "GRACE with a trained encoder of the prompt"
    family: ClassVar[Family] = "memory"
    changes: ClassVar[str] = "a codebook beside one MLP"
    needs: ClassVar[str] = "a trained file"
    config_class: ClassVar[type[EditorConfig]] = AGraceConfig
    needs_training: ClassVar[bool] = True

    config: AGraceConfig

    def __init__(self, config: AGraceConfig, trained: Trained | None = None) -> None:
        super().__init__(config)
        self.trained = trained

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """The trained file.

        Raises:
            ConfigError: If there is none.
        """
        return {"trained": required(self.trained, self.name).digest}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Nothing to prepare; fails early if the layer does not exist or the trained file does not fit.

        Raises:
            ConfigError: If there is no trained file, or it is of another model, method or configuration.
        """
        lm.mlp_output(self.config.layer)
        settings = self.config.as_dict()
        trained = required(self.trained, self.name)
        trained.check(lm, self.name, {name: settings[name] for name in ENCODER_SETTINGS})

    def trainer(self, lm: LanguageModel) -> "EncoderTrainer":
        """The encoder's training, from its beginning; fails early if the layer does not exist."""
        lm.mlp_output(self.config.layer)
        return EncoderTrainer(lm, self.config)

    @cached_property
    def encoder(self) -> Encoder:
        """The trained encoder."""
        tensors = required(self.trained, self.name).tensors
        return Encoder(*(tensors[f"{map_}.{kind}"] for map_ in ("first", "second") for kind in ("weight", "bias")))

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A codebook with one entry for every request: GRACE's value under the prompt's encoding.

        Raises:
            ConfigError: If there is no trained file, or it is of another model, method or configuration.
        """
        self.prepare(lm, ())
        edits = super().edit_each(lm, requests)
        pooled = read_prompts(lm, [request.prompt for request in requests], [self.config.layer]).pooled
        keys = self.encoder(pooled[self.config.layer])
        first = self.config.query == "first_call"
        return [
            replace(edit, updates=self._encoded(edit, key[None]), first_call_only=first)
            for edit, key in zip(edits, keys, strict=True)
        ]

    def _encoded(self, edit: Edit, key: Tensor) -> tuple[Codebook, ...]:
        books = [update for update in edit.updates if isinstance(update, Codebook)]
        return tuple(replace(book, keys=key.clone(), encoder=self.encoder) for book in books)


class EncoderNet(nn.Module):
    """The encoder while it is trained: ``model.codebook.Encoder`` with dropout between its two maps.

    Args:
        f: Width of its input.
        hidden: Width between the maps.
        embedding: Width of its output.
        dropout: Share of the hidden layer that is dropped in training mode.
        seed: Of the first weights, which are uniform in +-1 / sqrt(inputs), torch's own choice.
    """

    def __init__(self, f: int, hidden: int, embedding: int, dropout: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = _linear(f, hidden, generator)
        self.second = _linear(hidden, embedding, generator)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        """Queries, shape (rows, e), of mean inputs, shape (rows, f)."""
        encoded: Tensor = self.second(self.dropout(leaky_relu(self.first(pooled), SLOPE)))
        return encoded


class Embedded:
    """The encoded texts of a batch of cases, shape (texts, e), and the places of each case's own.

    ``places``: per case those of the prompt, the rephrased prompt and the neighbours, in this order.
    """

    def __init__(self, vectors: Tensor, places: Sequence[Sequence[int]]) -> None:
        self.vectors, self.places = vectors, places

    def near(self) -> Tensor:
        """Distances of prompts and their rephrased prompts, shape (cases,)."""
        return self._distances([(own[0], own[1]) for own in self.places])

    def far(self) -> Tensor:
        """Distances of prompts and their neighbours, shape (pairs,)."""
        return self._distances([(own[0], other) for own in self.places for other in own[2:]])

    def between(self) -> Tensor:
        """Distances of each prompt and the other cases' prompts and rephrased prompts, shape (pairs,)."""
        return self._distances(
            [(own[0], text) for own in self.places for other in self.places if other is not own for text in other[:2]]
        )

    def _distances(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        if not pairs:
            return self.vectors.new_zeros(0)
        first, second = torch.tensor(pairs, device=self.vectors.device).T
        distances: Tensor = (self.vectors[first] - self.vectors[second]).norm(dim=-1)
        return distances


def contrastive_loss(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """Mean over all pairs of d^2 of the near, relu(margin - d)^2 of the far; 0 where there is no pair.

    Source: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, equation 4, without
    its factor 1/2.

    Args:
        near: Distances, shape (pairs,).
        far: Distances, shape (other pairs,).
        margin: The distance from which on far pairs cost nothing.
    """
    summed: Tensor = near.square().sum() + relu(margin - far).square().sum()
    return summed / max(1, len(near) + len(far))


class EncoderTrainer(Trainer):
    """Trains an encoder on the prompts' mean inputs, which do not change and are computed once, in batches."""

    def __init__(self, lm: LanguageModel, config: AGraceConfig) -> None:
        self._lm, self._config = lm, config
        f = lm.map.f
        net = EncoderNet(f, config.encoder_width or f // 4, config.embedding, config.dropout, config.seed)
        self.parameters: nn.Module = net.to(lm.device)
        self.schedule = Schedule(
            learning_rate=config.encoder_learning_rate,
            batch_size=config.encoder_batch,
            steps=config.encoder_epochs,
            validate_every=1,
            weight_decay=config.encoder_decay,
            patience=config.encoder_patience,
            unit="epochs",
        )
        self._pooled = torch.zeros(0, f)
        self._rows: dict[str, int] = {}

    def begin(self, cases: Sequence[Case], track: Track = untracked) -> None:
        """Read all texts; a batch holds as many cases as have ``encoder_batch`` pairs on average."""
        prompts = sorted({prompt for case in cases for prompt in case.prompts}, key=_length)
        parts = [prompts[start : start + PART_ROWS] for start in range(0, len(prompts), PART_ROWS)]
        layer = self._config.layer
        read = [read_prompts(self._lm, part, [layer]).pooled[layer] for part in track(parts, "reading", len(parts))]
        self._pooled = torch.cat(read).to(self._lm.device)
        self._rows = {prompt: row for row, prompt in enumerate(prompts)}
        pairs = sum(1 + len(case.neighbour_prompts) for case in cases) / len(cases)
        self.schedule = replace(self.schedule, batch_size=max(1, round(self._config.encoder_batch / pairs)))

    def loss(self, cases: Sequence[Case]) -> float:
        """Mean loss of the cases' pairs; adds its gradient."""
        loss = self._loss(cases)
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def validation_loss(self, cases: Sequence[Case]) -> float:
        """The same without gradient."""
        return float(self._loss(cases))

    @torch.no_grad()
    def validation_facts(self, cases: Sequence[Case]) -> dict[str, Any]:
        """The shares of near and of far pairs on their side of the radius: what the released code selects by."""
        embedded, radius = self._embedded(cases), self._config.radius
        return {
            "near_within_radius": _share(embedded.near() <= radius),
            "far_outside_radius": _share(embedded.far() > radius),
        }

    def _loss(self, cases: Sequence[Case]) -> Tensor:
        embedded = self._embedded(cases)
        loss = contrastive_loss(embedded.near(), embedded.far(), self._config.margin)
        if self._config.far == "batch":
            between = embedded.between()
            loss = loss + contrastive_loss(between.new_zeros(0), between, self._config.margin)
        return loss

    def _embedded(self, cases: Sequence[Case]) -> Embedded:
        """Every text of the cases, encoded once."""
        texts = list(dict.fromkeys(prompt for case in cases for prompt in case.prompts))
        place = {text: index for index, text in enumerate(texts)}
        vectors: Tensor = self.parameters(self._pooled[[self._rows[text] for text in texts]])
        return Embedded(vectors, [[place[prompt] for prompt in case.prompts] for case in cases])


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        for tensor in linear.parameters():
            tensor.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
    return linear


def _length(prompt: str) -> tuple[int, str]:
    return len(prompt), prompt


def _share(right: Tensor) -> float | None:
    return float(right.float().mean()) if len(right) else None
