"""The keys of requests and of a corpus: what turns a wanted value into an update of a weight."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.editors.contract import EditRequest, Track
from clmeeval_data.evaluation.editors.locate import LocateConfig, Question, ask_plainly, sample_contexts
from clmeeval_data.evaluation.model.corpus import Corpus, open_corpus
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.statistics import KeyStatistics, key_statistics


class CorpusConfig(Protocol):
    """Settings that name a corpus: "train", a file, or a dataset; and how many of its tokens are read at most."""

    @property
    def corpus(self) -> str:
        """Where the texts come from."""

    @property
    def tokens(self) -> int:
        """How many tokens are read at most."""


def corpus_of(config: CorpusConfig, train: Sequence[EditRequest]) -> Corpus:
    """The texts that key statistics are collected from; "train": the training split's prompts with their answers.

    Raises:
        EditError: If the corpus is the training split and there is none.
    """
    if config.corpus == "train" and not train:
        raise EditError("key statistics need texts: the dataset has no training split. Give --set corpus=FILE.")
    return open_corpus(config.corpus, [f"{request.prompt} {request.target}" for request in train])


def corpus_inputs(config: CorpusConfig, train: Sequence[EditRequest]) -> Mapping[str, Any]:
    """What names the corpus, as JSON values."""
    corpus = corpus_of(config, train)
    return {"corpus": corpus.name, "corpus_sha256": corpus.digest}


class PreparedKeys:
    """What a locate-then-edit method prepares for a model: contexts, and statistics of the keys of a corpus."""

    def __init__(self, config: Any, method: str) -> None:
        self._config = config
        self._method = method
        self._contexts: dict[str, list[str]] = {}
        self._statistics: dict[str, dict[int, KeyStatistics]] = {}

    def contexts(self, lm: LanguageModel) -> list[str]:
        """What is set before a prompt, sampled when first asked for."""
        if lm.fingerprint not in self._contexts:
            self._contexts[lm.fingerprint] = sample_contexts(lm, self._config)
        return self._contexts[lm.fingerprint]

    def collect(self, lm: LanguageModel, train: Sequence[EditRequest], layers: Sequence[int], track: Track) -> None:
        """Collect, or read from the cache, the statistics of layers."""
        corpus = corpus_of(self._config, train)
        self._statistics[lm.fingerprint] = key_statistics(lm, corpus, layers, self._config.tokens, track)

    def statistics(self, lm: LanguageModel) -> dict[int, KeyStatistics]:
        """The statistics by layer.

        Raises:
            EditError: If they were not collected for this model.
        """
        if lm.fingerprint not in self._statistics:
            raise EditError(
                f"{self._method} needs key statistics of {lm.name}: call prepare(lm, train) with the training requests "
                "before edit or edit_each."
            )
        return self._statistics[lm.fingerprint]


def read_keys(
    lm: LanguageModel,
    config: LocateConfig,
    question: Question,
    requests: Sequence[EditRequest],
    contexts: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """Each request's key on the plain prompt, and the mean of its keys over all contexts; shapes (requests, f).

    The plain prompt's key is always the right one: where the released positions are asked for, it is read anew.
    """
    rows = question.rows
    keys = rows.keys.float()
    means = torch.stack([keys[(rows.owner == index).to(keys.device)].mean(0) for index in range(len(requests))])
    if config.positions == "mask":
        return keys[rows.first_rows()], means
    plain = ask_plainly(lm, config, requests, rows.layer)
    return plain.keys.float(), means
