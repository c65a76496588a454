"""Unedited answers that somebody computed before: taken over into a results folder where they fit this very model.

They lie beside the dataset, as its configurations ``answers-<model>`` (clmeeval_data.answers). What does not fit is not
used and computed as if it were not there: other weights, another precision or decoding, other texts, and token ids that
are not what this model's tokenizer makes of the text.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.answers import PREFIX, Answering, CaseAnswers, is_answers, parse_manifest, read_answers
from clmeeval_data.errors import CaseError, DatasetError
from clmeeval_data.evaluation.answers import AnswersFile, Found, answer_lengths, case_key
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.scoring.dimensions import Answers, decoding
from clmeeval_data.hub.configurations import FoundConfiguration, configurations_of

logger = logging.getLogger(__name__)


def answering(lm: LanguageModel) -> Answering:
    """A model, unedited and asked the way an evaluation does."""
    end = lm.tokenizer.eos_token_id
    ends_with = "" if end is None else written(lm, [int(end)])
    return Answering(lm.name, lm.fingerprint, str(lm.dtype).removeprefix("torch."), decoding(), ends_with)


def written(lm: LanguageModel, ids: Sequence[int]) -> str:
    """Token ids as text, as published answers have it: with special tokens and white space."""
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def take_over(
    answers: AnswersFile,
    location: str,
    split: str,
    cases: Sequence[Case],
    lm: LanguageModel,
    revision: str | None = None,
) -> dict[str, Any]:
    """Put published answers to cases beside the runs that need them, as far as there are none yet.

    Args:
        answers: The file beside the runs.
        location: Where the dataset was read from: a folder, or an id on the Hub.
        split: The split of the cases.
        cases: The cases that will be asked.
        lm: The model, unedited.
        revision: Of the dataset on the Hub: a branch, tag or commit.

    Returns:
        Where the answers come from, as a run's environment says it (``AnswersFile.origins``).

    Raises:
        ResultsError: If the file cannot be written.
    """
    known = answers.known(cases)
    found = find_published(location, split, [case for case in cases if case_key(case) not in known], lm, revision)
    answers.add(found.answers, found.origins)
    return answers.origins(cases)


def find_published(
    location: str, split: str, cases: Sequence[Case], lm: LanguageModel, revision: str | None = None
) -> Found:
    """The published answers to cases that are of this very model, asked in this very way.

    Args:
        location: Where the dataset was read from: a folder, or an id on the Hub.
        split: The split of the cases.
        cases: The cases in question.
        lm: The model, unedited.
        revision: Of the dataset on the Hub: a branch, tag or commit.
    """
    wanted = {case_key(case): case for case in cases}
    answers: dict[str, Answers] = {}
    origins: dict[str, str] = {}
    for configuration in configurations_of(location, PREFIX, revision) if wanted else ():
        left = {key: case for key, case in wanted.items() if key not in answers}
        fitting = _fitting(configuration, split, left, lm) if left else {}
        answers.update(fitting)
        origins.update(dict.fromkeys(fitting, configuration.origin))
    return Found(answers, origins)


def _fitting(
    configuration: FoundConfiguration, split: str, cases: Mapping[str, Case], lm: LanguageModel
) -> dict[str, Answers]:
    """The answers of a configuration to cases by their keys; none where it does not match."""
    if not is_answers(configuration.manifest):
        return {}
    try:
        manifest = parse_manifest(configuration.manifest, configuration.origin)
        if split not in manifest.splits or not manifest.answering.is_same(answering(lm)):
            logger.info("%s is of another model, precision, decoding or split", configuration.origin)
            return {}
        path = storage.parquet_path(Path(), split).as_posix()
        rows = {row.key: row for row in read_answers(configuration.file(path), manifest, split)}
    except DatasetError as error:
        logger.warning("published answers are not used, and computed instead: %s", error)
        return {}
    fits = {key: rows[key] for key, case in cases.items() if key in rows and _fits(lm, case, rows[key])}
    odd = sum(key in rows for key in cases) - len(fits)
    if odd:
        logger.warning("%d answers of %s do not fit %s; they are computed instead", odd, configuration.origin, lm.name)
    return {key: Answers(tuple(answer.ids for answer in row.answers)) for key, row in fits.items()}


def _fits(lm: LanguageModel, case: Case, row: CaseAnswers) -> bool:
    """Whether answers are ones that this model, with its tokenizer, can have given to a case."""
    try:
        lengths = answer_lengths(lm, case)
    except CaseError:
        return False
    vocabulary = int(lm.model.get_input_embeddings().weight.shape[0])
    return len(lengths) == len(row.answers) and all(
        len(answer.ids) <= length
        and all(0 <= one < vocabulary for one in answer.ids)
        and written(lm, answer.ids) == answer.text
        for answer, length in zip(row.answers, lengths, strict=True)
    )
