"""MEMIT: what one layer would have to add at its output is written into the MLP output maps of several layers.

z = h_L + delta at the lookup token, delta by gradient descent;  for each layer l in order, with the earlier ones
edited: R_l = (z - h_L) / (layers left),  W_l += R_l A^T,  A = (lambda C_l + K_l K_l^T)^-1 K_l
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clmeeval_data.evaluation.editors.contract import EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.keys import PreparedKeys, corpus_inputs
from clmeeval_data.evaluation.editors.locate import LocateConfig, Question, ask, ask_plainly, find_vectors
from clmeeval_data.evaluation.editors.search import Fit
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.partial import LayerRun, run_layers
from clmeeval_data.evaluation.model.prefix import Prefix
from clmeeval_data.evaluation.model.statistics import KeyStatistics
from clmeeval_data.evaluation.model.updates import LowRank, Update


@dataclass(frozen=True, kw_only=True)
class MemitConfig(LocateConfig):
    """Settings of MEMIT: those of the search, and these.

    ``layers``: whose MLP output maps are changed, lowest first; the vector is searched for at the last. ``weight``:
    lambda, how much the keys of the corpus count against those of the requests. ``corpus``, ``tokens``: where the keys
    of C come from (see ``model.corpus.open_corpus``), and how many tokens are read at most.
    """

    layers: tuple[int, ...]
    weight: float = 15_000.0
    corpus: str = "train"
    tokens: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = bool(self.layers) and list(self.layers) == sorted(set(self.layers))
        self._require(ascending, "layers", "one or more layers, lowest first")
        self._require(self.weight > 0, "weight", "a number above 0")

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The changed layers."""
        return self.layers


class Memit:
    """Mass-Editing Memory in a Transformer.

    Source: Meng et al., "Mass-Editing Memory in a Transformer", ICLR 2023 (arXiv 2210.07229), equations 14 to 20 and
    algorithm 1. C is factored once per layer; for one request A is C^-1 k / (lambda + k^T C^-1 k), by the
    Sherman-Morrison formula, and for n requests C^-1 K (lambda I + K^T C^-1 K)^-1, by Woodbury's. Two departures from
    the benchmark's released code, each with a switch: positions under padding, and the KL prompt (``LocateConfig``).
    """

    name: ClassVar[str] = "memit"
    summary: ClassVar[str] = "an update of several MLPs against the keys of a corpus"
    family: ClassVar[Family] = "locate-then-edit"
    changes: ClassVar[str] = "several MLP output maps"
    needs: ClassVar[str] = "key statistics"
    config_class: ClassVar[type[MemitConfig]] = MemitConfig

    _looks_at_attention: ClassVar[bool] = False

    def __init__(self, config: MemitConfig) -> None:
        self.config = config
        self._prepared = PreparedKeys(config, self.name)

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """The corpus of the key statistics."""
        return corpus_inputs(self.config, train)

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Sample the contexts and collect the key statistics; fails early if a layer does not exist."""
        for layer in self.config.layers:
            lm.mlp_output(layer)
        self._prepared.contexts(lm)
        self._prepared.collect(lm, train, self.config.layers, track)

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One update per layer that holds all requests."""
        return self._edits(lm, requests, [0] * len(requests))[0]

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """An update per layer for every request."""
        return self._edits(lm, requests, list(range(len(requests))))

    def contexts(self, lm: LanguageModel) -> list[str]:
        """What is set before a prompt, the plain prompt ("") first. Depends on the model and the seed alone."""
        return self._prepared.contexts(lm)

    def statistics(self, lm: LanguageModel) -> dict[int, KeyStatistics]:
        """The key statistics of the changed layers.

        Raises:
            EditError: If ``prepare`` was not called for this model.
        """
        return self._prepared.statistics(lm)

    def solve(self, lm: LanguageModel, layer: int, keys: Tensor) -> Tensor:
        """A^T for keys K^T that are written together, both of shape (n, f): A = (lambda C + K K^T)^-1 K."""
        solved = self.statistics(lm)[layer].solve(keys.T)  # (f, n), float64
        inner = keys.to(solved) @ solved
        inner.diagonal().add_(self.config.weight)
        solution: Tensor = torch.linalg.solve(inner, solved.T)
        return solution

    def _search(self, lm: LanguageModel, question: Question) -> tuple[Tensor, Fit]:
        """What the output of the last layer has to become, shape (requests, d), and how it was found."""
        blocks = question.rows.blocks
        fit = find_vectors(lm, self.config, question, question.sizes(blocks)[:, None])
        return blocks[question.rows.first_rows()].float() + fit.vectors[:, 0], fit

    def _reached(self, run: LayerRun) -> Tensor:
        """What is compared with the result of the search: the last layer's output, shape (rows, d)."""
        return run.output[:, -1].float()

    def _share(self, left: int) -> float:
        """The part of the residual that a layer takes when ``left`` layers, itself included, are left."""
        return 1 / left

    def _edits(self, lm: LanguageModel, requests: Sequence[EditRequest], owners: Sequence[int]) -> list[Edit]:
        """One edit for every owner; requests of one owner are written together."""
        config, layers = self.config, self.config.layers
        self.statistics(lm)  # fails before anything is computed
        question = ask(lm, config, self.contexts(lm), requests, layers[-1], layers[0], self._looks_at_attention)
        wanted, fit = self._search(lm, question)
        asked = _Followed(question.rows.prefix, question.rows.owner, layers[0])
        plain = None
        if config.positions == "released":  # the current output is taken at the right position there, too
            rows = ask_plainly(lm, config, requests, layers[-1], layers[0])
            plain = _Followed(rows.prefix, rows.owner, layers[0])
        updates: list[list[Update]] = [[] for _ in range(max(owners) + 1)]
        residual = wanted
        for place, layer in enumerate(layers):
            current = [Edit(tuple(update), lm.fingerprint, self.name) for update in updates]
            start = layers[max(0, place - 1)]
            run = asked.run(lm, current, owners, start, layers[-1])
            keys = asked.mean_keys(run, layer)
            reached = self._reached(run)[question.rows.first_rows()]
            if plain is not None:
                reached = self._reached(plain.run(lm, current, owners, start, layers[-1]))
            residual = wanted - reached
            written = residual * self._share(len(layers) - place)
            for owner, update in enumerate(updates):
                mine = [index for index, of in enumerate(owners) if of == owner]
                right = self.solve(lm, layer, keys[mine]).to(keys.device, torch.float32)
                update.append(LowRank(lm.map.mlp_output_name(layer), written[mine].T.contiguous(), right))
        return [
            self._edit(lm, requests, [i for i, of in enumerate(owners) if of == owner], update, fit, residual)
            for owner, update in enumerate(updates)
        ]

    def _edit(
        self,
        lm: LanguageModel,
        requests: Sequence[EditRequest],
        mine: Sequence[int],
        updates: Sequence[Update],
        fit: Fit,
        residual: Tensor,
    ) -> Edit:
        """The edit of some requests; ``residual`` is what the layers before the last one left over, as a share."""
        left = (residual[mine].norm(dim=-1) / fit.vectors[mine, -1].norm(dim=-1).clamp_min(1e-12)).mean()
        details = {
            "loss": max(fit.losses[index] for index in mine),
            "steps": float(max(fit.steps[index] for index in mine)),
            "residual": float(left),
        }
        case_ids = tuple(requests[index].case_id for index in mine)
        return Edit(tuple(updates), lm.fingerprint, self.name, self.config.as_dict(), case_ids, details)


class _Followed:
    """Texts that end in their lookup token, followed through the layers while these are being edited."""

    def __init__(self, prefix: Prefix, owner: Tensor, first: int) -> None:
        self._tokens, self._owner = prefix.tokens, owner
        self._entering = {first: prefix.entering[first]}

    def run(self, lm: LanguageModel, edits: Sequence[Edit], owners: Sequence[int], first: int, last: int) -> LayerRun:
        """The layers from ``first`` to ``last``, each row under its request's edit; nothing below has changed since."""
        with applied(lm, edits) as live:
            live.at(None)
            live.rows = torch.tensor([owners[request] for request in self._owner.tolist()])
            run = run_layers(lm, self._tokens, self._entering[first], first, last)
        self._entering.update(run.entering)
        return run

    def mean_keys(self, run: LayerRun, layer: int) -> Tensor:
        """Each request's key: half its plain prompt's, half the mean over the other contexts; shape (requests, f)."""
        keys = run.keys[layer][:, -1].float()
        found = []
        for request in range(int(self._owner.max()) + 1):
            rows = keys[(self._owner == request).to(keys.device)]
            found.append(rows[0] if len(rows) == 1 else (rows[0] + rows[1:].mean(0)) / 2)
        return torch.stack(found)
