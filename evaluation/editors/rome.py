"""ROME: one MLP output map W gets a rank-one update that makes it write the wanted value for the prompt's key.

k* = mean key over contexts;  u = C^-1 k* / |C^-1 k*|;  v* = v0 + delta, delta by gradient descent
W' = W + ((v* - W k) / (k . u)) u^T     so that W' k = v* for the key k of the plain prompt
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.keys import PreparedKeys, corpus_inputs, read_keys
from clmeeval_data.evaluation.editors.locate import LocateConfig, ask, find_vectors
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.statistics import KeyStatistics
from clmeeval_data.evaluation.model.updates import LowRank


@dataclass(frozen=True, kw_only=True)
class RomeConfig(LocateConfig):
    """Settings of ROME: those of the search, and these.

    ``layer``: whose MLP output map is changed. ``covariance``: C, the identity (as the benchmark has it) or the second
    moment of the keys of ``corpus`` (see ``model.corpus.open_corpus``), of at most ``tokens`` tokens.
    """

    layer: int
    covariance: Literal["identity", "keys"] = "identity"
    corpus: str = "train"
    tokens: int = 100_000

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The one changed layer."""
        return (self.layer,)


class Rome:
    """Rank-One Model Editing.

    Source: Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022 (arXiv 2202.05262), equations
    2 to 4. The benchmark sets C to the identity for its models. Two departures from its released code, each with a
    switch: positions are right under padding, and the KL term is taken on a neutral prompt rather than on the very
    token that has to change.
    """

    name: ClassVar[str] = "rome"
    summary: ClassVar[str] = "a rank-one update of one MLP"
    family: ClassVar[Family] = "locate-then-edit"
    changes: ClassVar[str] = "one MLP output map, by rank one"
    needs: ClassVar[str] = "nothing, or key statistics"
    config_class: ClassVar[type[RomeConfig]] = RomeConfig
    cannot: ClassVar[Mapping[str, str]] = {
        "batch": "its update is of one request, and several are written one after another. Use sequential:N, or memit."
    }

    def __init__(self, config: RomeConfig) -> None:
        self.config = config
        self._prepared = PreparedKeys(config, self.name)

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """The corpus of the key statistics, where they are used."""
        return corpus_inputs(self.config, train) if self.config.covariance == "keys" else {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Sample the contexts and collect the key statistics; fails early if the layer does not exist."""
        lm.mlp_output(self.config.layer)
        self.contexts(lm)
        if self.config.covariance == "keys":
            self._prepared.collect(lm, train, (self.config.layer,), track)

    def contexts(self, lm: LanguageModel) -> list[str]:
        """What is set before a prompt, the plain prompt ("") first. Depends on the model and the seed alone."""
        return self._prepared.contexts(lm)

    def statistics(self, lm: LanguageModel) -> dict[int, KeyStatistics]:
        """The key statistics by layer.

        Raises:
            EditError: If they were not collected for this model.
        """
        return self._prepared.statistics(lm)

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
        config, contexts = self.config, self.contexts(lm)
        question = ask(lm, config, contexts, requests, config.layer)
        sizes = question.sizes(question.rows.values)
        fit = find_vectors(lm, config, question, sizes[:, None])
        keys, means = read_keys(lm, config, question, requests, contexts)
        name, edits = lm.map.mlp_output_name(config.layer), []
        for index, request in enumerate(requests):
            delta = fit.vectors[index, 0]
            update = rank_one(name, delta, keys[index], self._direction(lm, means[index]))
            details = {"loss": fit.losses[index], "steps": float(fit.steps[index])}
            details["delta_norm"] = float(delta.norm() / sizes[index])
            edits.append(Edit((update,), lm.fingerprint, self.name, config.as_dict(), (request.case_id,), details))
        return edits

    def _direction(self, lm: LanguageModel, key: Tensor) -> Tensor:
        """C^-1 k*, shape (f,)."""
        if self.config.covariance == "identity":
            return key
        return self.statistics(lm)[self.config.layer].solve(key[:, None])[:, 0].to(key.device, key.dtype)


def rank_one(module: str, delta: Tensor, key: Tensor, direction: Tensor) -> LowRank:
    """The rank-one update after which W' key = W key + delta.

    Args:
        module: Name of the changed module.
        delta: What the module's output has to change by, shape (d,).
        key: The plain prompt's key, shape (f,).
        direction: Which keys are changed with it, of any length, shape (f,).

    Source: ROME, equation 2.
    """
    unit = direction / direction.norm()
    return LowRank(module, (delta / (key @ unit))[:, None].clone(), unit[None].clone())
