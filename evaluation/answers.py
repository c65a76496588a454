"""What the unedited model answers: computed once for a model, at its precision, and shared by all methods.

They are the reference of specificity, the "before" of the report, and the guesses that make generation after an edit
cheap, since most answers stay as they are.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.results import slug, write_json
from clmeeval_data.evaluation.scoring.dimensions import SPECIFICITY_TOKENS, Answers, decoding
from clmeeval_data.journal import Journal

PUBLISHED = "published.jsonl"


class UneditedAnswers:
    """The answers of one model to the cases of one dataset, on disk beside the runs that use them.

    Those that were taken over from published ones (published_answers.py) lie there too, in a file of their own.

    Args:
        results: The results folder.
        dataset: Name of the dataset.
        lm: The model, unedited.
    """

    def __init__(self, results: Path, dataset: str, lm: LanguageModel) -> None:
        self._lm = lm
        folder = answers_folder(results, dataset, lm)
        if not (folder / "answers.json").exists():
            write_json(folder / "answers.json", {"model": lm.name, **answers_identity(lm)})
        self._journal = Journal(folder / "answers.jsonl")
        entries = {**Journal(folder / PUBLISHED).read(), **self._journal.read()}
        self._known = {key: _answers(entry["answers"]) for key, entry in entries.items()}

    def of(self, cases: Sequence[Case]) -> list[Answers]:
        """The answers to each case's prompts, greedily decoded; those not known yet are computed in one batch."""
        missing = [case for case in cases if case_key(case) not in self._known]
        if missing:
            found = dict(zip(map(case_key, missing), self._compute(missing), strict=True))
            self._journal.append({"id": key, "answers": answers.prompts} for key, answers in found.items())
            self._known.update(found)
        return [self._known[case_key(case)] for case in cases]

    def _compute(self, cases: Sequence[Case]) -> list[Answers]:
        lm, prompts = self._lm, [prompt for case in cases for prompt in case.prompts]
        lengths = [length for case in cases for length in answer_lengths(lm, case)]
        jobs = [Continuation(row, 0, length) for row, length in enumerate(lengths)]
        outputs = iter(generate(lm, read_prompts(lm, prompts), [Edit((), lm.fingerprint, "none")], jobs))
        return [Answers(tuple(tuple(next(outputs)) for _ in case.prompts)) for case in cases]


def answers_identity(lm: LanguageModel) -> dict[str, Any]:
    """Everything that can change an unedited answer, as JSON values."""
    return {"fingerprint": lm.fingerprint, "dtype": str(lm.dtype), "decoding": decoding()}


def answers_folder(results: Path, dataset: str, lm: LanguageModel) -> Path:
    """Where a results folder keeps the unedited answers of a model to a dataset."""
    digest = hashlib.sha256(json.dumps(answers_identity(lm), sort_keys=True).encode()).hexdigest()[:10]
    return results / slug(dataset) / slug(lm.name) / f"unedited--{digest}"


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
