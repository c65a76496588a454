"""What the unedited model answers: computed once for a model, at its precision, and shared by all methods.

They are the reference of specificity, the "before" of the report, and the guesses that make generation after an edit
cheap, since most answers stay as they are.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.results import slug, write_json
from clmeeval_data.evaluation.scoring.dimensions import SPECIFICITY_TOKENS, Answers, decoding
from clmeeval_data.journal import Journal


class Found(NamedTuple):
    """Answers by ``case_key``, and by the same keys where they come from."""

    answers: Mapping[str, Answers]
    origins: Mapping[str, str]


class UneditedAnswers:
    """The answers of one model to cases: those that are known, and those computed since.

    Args:
        lm: The model. No edit may be applied to it when answers are computed.
        known: Answers by ``case_key``.
    """

    def __init__(self, lm: LanguageModel, known: Mapping[str, Answers] | None = None) -> None:
        self._lm = lm
        self._known = dict(known or {})
        self._found: dict[str, Answers] = {}

    def of(self, cases: Sequence[Case]) -> list[Answers]:
        """The answers to each case's prompts, greedily decoded; those not known yet are computed in one batch."""
        missing = [case for case in cases if case_key(case) not in self._known]
        if missing:
            found = dict(zip(map(case_key, missing), self._compute(missing), strict=True))
            self._known.update(found)
            self._found.update(found)
        return [self._known[case_key(case)] for case in cases]

    def taken(self) -> dict[str, Answers]:
        """What was computed since this was last asked."""
        found, self._found = self._found, {}
        return found

    def _compute(self, cases: Sequence[Case]) -> list[Answers]:
        lm, prompts = self._lm, [prompt for case in cases for prompt in case.prompts]
        lengths = [length for case in cases for length in answer_lengths(lm, case)]
        jobs = [Continuation(row, 0, length) for row, length in enumerate(lengths)]
        outputs = iter(generate(lm, read_prompts(lm, prompts), [Edit((), lm.fingerprint, "none")], jobs))
        return [Answers(tuple(tuple(next(outputs)) for _ in case.prompts)) for case in cases]


class AnswersFile:
    """The unedited answers of one model to one dataset on disk, beside the runs that use them; written by many.

    Args:
        results: The results folder.
        dataset: Name of the dataset.
        model: Name, fingerprint and dtype of the model, as in a run's identity.

    Raises:
        ResultsError: If the file there is damaged.
    """

    def __init__(self, results: Path, dataset: str, model: Mapping[str, Any]) -> None:
        self._folder = answers_folder(results, dataset, model)
        self._description = {"model": model["name"], **answers_identity(model)}
        self._journal = Journal(self._folder / "answers.jsonl")
        self._known: dict[str, Answers] = {}
        self._origins: dict[str, str] = {}
        self._read_size = 0
        self._read()

    def known(self, cases: Iterable[Case]) -> dict[str, Answers]:
        """The answers to cases that are there, by ``case_key``."""
        keys = map(case_key, cases)
        return {key: self._known[key] for key in keys if key in self._known}

    def add(self, found: Mapping[str, Answers], origins: Mapping[str, str] | None = None) -> None:
        """Keep more answers; those that another process has written meanwhile stay as they are.

        Args:
            found: Answers by ``case_key``.
            origins: By the same keys, where those come from that were not computed here.

        Raises:
            ResultsError: If they cannot be written.
        """
        missing = {key: answers for key, answers in found.items() if key not in self._known}
        if not missing:
            return
        if not (self._folder / "answers.json").exists():
            write_json(self._folder / "answers.json", self._description)
        with self._journal.held(wait=True):
            if self._size() != self._read_size:
                self._read()
            lines = [_line(key, one, origins or {}) for key, one in missing.items() if key not in self._known]
            if lines:
                self._journal.append(lines)
            self._keep(lines)
            self._read_size = self._size()

    def origins(self, cases: Sequence[Case]) -> dict[str, Any]:
        """Where the answers to cases come from: how many are ``published``, and ``from`` where; others are computed."""
        taken = [self._origins[key] for key in map(case_key, cases) if key in self._origins]
        return {"cases": len(cases), "published": len(taken), "from": sorted(set(taken))}

    def _size(self) -> int:
        return self._journal.path.stat().st_size if self._journal.path.exists() else 0

    def _read(self) -> None:
        self._read_size = self._size()  # what comes after it is read the next time
        self._keep(self._journal.read().values())

    def _keep(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            self._known[line["id"]] = _answers(line["answers"])
            if "from" in line:
                self._origins[line["id"]] = line["from"]


def answers_identity(model: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that can change an unedited answer, as JSON values.

    Args:
        model: Name, fingerprint and dtype, as in a run's identity.
    """
    return {"fingerprint": model["fingerprint"], "dtype": model["dtype"], "decoding": decoding()}


def answers_folder(results: Path, dataset: str, model: Mapping[str, Any]) -> Path:
    """Where a results folder keeps the unedited answers of a model to a dataset."""
    digest = hashlib.sha256(json.dumps(answers_identity(model), sort_keys=True).encode()).hexdigest()[:10]
    return results / slug(dataset) / slug(model["name"]) / f"unedited--{digest}"


def answer_lengths(lm: LanguageModel, case: Case) -> list[int]:
    """How many tokens are generated after each of a case's prompts."""
    target = len(lm.encode_target(case.prompt, case.target))
    return [target, target, *(SPECIFICITY_TOKENS for _ in case.neighbour_prompts)]


def case_key(case: Case) -> str:
    """The case's id and a hash of its texts: answers are to exactly these."""
    content = json.dumps({"case_id": case.case_id, **case.as_dict()}, sort_keys=True)
    return f"{case.case_id}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _answers(lists: Sequence[Sequence[int]]) -> Answers:
    return Answers(tuple(tuple(ids) for ids in lists))


def _line(key: str, answers: Answers, origins: Mapping[str, str]) -> dict[str, Any]:
    origin = {"from": origins[key]} if key in origins else {}
    return {"id": key, "answers": answers.prompts, **origin}
