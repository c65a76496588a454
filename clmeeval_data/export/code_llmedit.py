"""The form in which the data of the paper was released, and which its code reads: ``to_case`` and its inverse.

The files lie where that code looks for them (edit_main.py and codellmeditor/dataset/clme_dataset.py of
xpq-tech/code-llmedit, as of commit 30584f38, with ``--data_dir`` set to the export's folder): ``EditConala`` or
``EditCodeSearchNet`` with ``train.json`` and ``test.json``, and ``all.json``, which is read for methods that are not
trained.

``neighborhoods.answers`` holds what unedited models answer to the neighbours, by the model's name: that code's
``prepare_requests`` asks for its model there. A dataset doesn't have them. They come from a configuration of answers
(clmeeval_data.answers); without one the object is empty, and that code ends with a KeyError until answers are put in.
It compares them with what its ``batch_generate`` returns, so they are written as that writes them: with special tokens,
the white space, and the end-of-text token up to the length of the longest answer of the case. Where a tokenizer puts
a token before every text (CodeLlama's ``<s>``), that code asks with it, and ours without.

What the form has no field for is in one object of each case under the key ``clmeeval``, which that code passes over.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from clmeeval_data.answers import Answer, Answering, CaseAnswers
from clmeeval_data.export.contract import ExportedFile
from clmeeval_data.records import Benchmark, Record

OURS = "clmeeval"
_FOLDERS = {"cnle": "EditConala", "csne": "EditCodeSearchNet"}


RELEASED_MODELS = ("CodeQwen1.5-7B", "CodeLlama-7b-hf", "stable-code-3b")  # the names that `prepare_requests` knows


@dataclass(frozen=True)
class ModelAnswers:
    """What a model answers to the neighbours of cases: its name, and for each case id the answers in their order."""

    model: str
    texts: Mapping[str, Sequence[str]]


def files(
    benchmark: Benchmark[Any], splits: Mapping[str, Sequence[Record]], answers: ModelAnswers | None = None
) -> list[ExportedFile]:
    """A file for each split, and one of all of them together."""
    folder = _FOLDERS[benchmark.name]
    whole = {**splits, "all": list(chain.from_iterable(splits.values()))}
    return [
        ExportedFile(f"{folder}/{name}.json", "array", (to_case(benchmark, record, answers) for record in records))
        for name, records in whole.items()
    ]


def model_answers(answering: Answering, rows: Iterable[CaseAnswers]) -> ModelAnswers:
    """The answers of a configuration as that code's ``batch_generate`` writes them, under the name it asks for."""
    limit = int(answering.decoding["specificity_tokens"])
    known = (name for name in RELEASED_MODELS if name in answering.model)
    name = next(known, answering.model.rpartition("/")[2])
    return ModelAnswers(name, {row.case_id: _generated(row.neighbours, limit, answering.end_of_text) for row in rows})


def _generated(answers: Sequence[Answer], limit: int, end: str) -> list[str]:
    """The texts of one batch: those that ended before the longest are filled up with the end-of-text token."""
    width = max((min(len(answer.ids) + 1, limit) for answer in answers), default=0)
    return [answer.text + end * (width - len(answer.ids)) for answer in answers]


def to_case(benchmark: Benchmark[Any], record: Record, answers: ModelAnswers | None = None) -> dict[str, Any]:
    """A record in the form of the paper's data; its ``answers`` are those of the model given, or empty."""
    row = benchmark.to_row(record)
    asked = (benchmark.prompt_field, benchmark.rephrased_field, benchmark.target_field)
    near = row["neighborhood"]
    rest = {name: value for name, value in row.items() if name not in (*asked, "case_id", "neighborhood")}
    return {
        "case_id": row["case_id"],
        "edit_request": {name: row[name] for name in asked},
        "neighborhoods": {
            "items": [{benchmark.prompt_field: each[benchmark.prompt_field]} for each in near],
            "answers": {} if answers is None else {answers.model: list(answers.texts[record.case_id])},
        },
        OURS: {
            "neighborhood": [
                {name: value for name, value in each.items() if name != benchmark.prompt_field} for each in near
            ],
            **rest,
        },
    }


def from_case(benchmark: Benchmark[Any], case: Mapping[str, Any]) -> Record:
    """The record of which ``to_case`` made the case, whatever answers were put into it since.

    Raises:
        ValueError: If the case does not have the key ``clmeeval``, or a field is missing, one too many, or of another
            type.
    """
    try:
        ours, items = case[OURS], case["neighborhoods"]["items"]
        near = [{**item, **more} for item, more in zip(items, ours["neighborhood"], strict=True)]
        row = {**ours, "case_id": case["case_id"], **case["edit_request"], "neighborhood": near}
        record: Record = benchmark.from_row(row)
        if not _fits(benchmark.to_row(record)):
            raise TypeError("a field of another type")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a case that was exported from a {benchmark.name} dataset: {error!r}") from error
    return record


def _fits(value: object, name: str = "") -> bool:
    """Whether all that a row holds is text, and a number where it is a similarity."""
    if isinstance(value, dict):
        return all(_fits(inner, key) for key, inner in value.items())
    if isinstance(value, list):
        return name == "neighborhood" and all(_fits(inner) for inner in value)
    return isinstance(value, float if name == "similarity" else str)
