"""The form in which the data of the paper was released, and which its code reads: ``to_case`` and its inverse.

The files lie where that code looks for them (edit_main.py and codellmeditor/dataset/clme_dataset.py of
xpq-tech/code-llmedit, as of commit 30584f38, with ``--data_dir`` set to the export's folder): ``EditConala`` or
``EditCodeSearchNet`` with ``train.json`` and ``test.json``, and ``all.json``, which is read for methods that are not
trained.

``neighborhoods.answers`` holds what each unedited model answers to the neighbours, by the model's name. A dataset
doesn't have them, so the object is empty: that code's ``prepare_requests`` asks for its model there, and ends with a
KeyError until the answers are put in.

What the form has no field for is in one object of each case under the key ``clmeeval``, which that code passes over.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from clmeeval_data.export.contract import ExportedFile
from clmeeval_data.records import Benchmark, Record

OURS = "clmeeval"
_FOLDERS = {"cnle": "EditConala", "csne": "EditCodeSearchNet"}


def files(benchmark: Benchmark[Any], splits: Mapping[str, Sequence[Record]]) -> list[ExportedFile]:
    """A file for each split, and one of all of them together."""
    folder = _FOLDERS[benchmark.name]
    whole = {**splits, "all": list(chain.from_iterable(splits.values()))}
    return [
        ExportedFile(f"{folder}/{name}.json", "array", (to_case(benchmark, record) for record in records))
        for name, records in whole.items()
    ]


def to_case(benchmark: Benchmark[Any], record: Record) -> dict[str, Any]:
    """A record in the form of the paper's data; ``answers`` is empty."""
    row = benchmark.to_row(record)
    asked = (benchmark.prompt_field, benchmark.rephrased_field, benchmark.target_field)
    near = row["neighborhood"]
    rest = {name: value for name, value in row.items() if name not in (*asked, "case_id", "neighborhood")}
    return {
        "case_id": row["case_id"],
        "edit_request": {name: row[name] for name in asked},
        "neighborhoods": {
            "items": [{benchmark.prompt_field: each[benchmark.prompt_field]} for each in near],
            "answers": {},
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
