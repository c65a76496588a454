"""The cases of a run against those of the published dataset."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clmeeval_data.evaluation.scoring.dimensions import case_of, cases_hash
from clmeeval_data.evaluation.submission.case_check import FIELDS, Text
from clmeeval_data.evaluation.submission.findings import Fault, Problem, shown
from clmeeval_data.evaluation.submission.records import Records

NAMED = 3  # missing cases that are named


@dataclass(frozen=True)
class PublishedSplit:
    """One split of a dataset as runs see it: the digest and the beginning of every text, by case and field."""

    location: str
    cases: Mapping[str, Mapping[str, Text]]
    hash: str

    @classmethod
    def open(cls, location: str, split: str, revision: str | None = None) -> "tuple[str, PublishedSplit]":
        """The benchmark's name and the split of a dataset folder, or of a dataset on the Hub.

        Raises:
            DatasetError: If it cannot be had.
        """
        from clmeeval_data.hub import open_split

        benchmark, records = open_split(location, split, revision)
        cases = [case_of(benchmark, record) for record in records]
        texts = {case.case_id: {field: Text.of(case.as_dict()[field]) for field in FIELDS} for case in cases}
        return benchmark.name, cls(location, texts, cases_hash(cases))


def published_problems(split: PublishedSplit, dataset: Mapping[str, Any], records: Records) -> Iterator[Problem]:
    """Cases that are not the dataset's, have other texts, or are missing where the run says that it has all."""
    for case_id, texts in records.texts.items():
        where = f"{records.places[case_id].name} (case {shown(case_id)})"
        known = split.cases.get(case_id)
        if known is None:
            yield Problem(where, Fault("the case is not in the dataset", "a case of --dataset", "another"))
            continue
        for field, text in texts.items():
            if text.digest != known[field].digest:
                fault = Fault(f"case.{field} is not the dataset's", known[field].start, text.start)
                yield Problem(where, fault)
    if dataset["n"] != len(split.cases):
        return  # a part of the split, which its signature says
    if dataset["cases"] != split.hash:
        fault = Fault("identity.dataset.cases is not the dataset's", shown(split.hash), shown(dataset["cases"]))
        yield Problem("run.json", fault)
    missing = sorted(split.cases.keys() - records.texts.keys())
    if missing:
        fault = Fault("cases of the dataset are missing", "all of them", f"{len(missing)} missing: {_named(missing)}")
        yield Problem("records.jsonl", fault)


def _named(missing: Iterable[str]) -> str:
    names = list(missing)
    return ", ".join(map(shown, names[:NAMED])) + (", …" if len(names) > NAMED else "")
