"""The cases of a run in groups, to see where a method is good and where it is not.

By length of the target or the prompt and by library from the texts that a run keeps; by source and by similarity of the
neighbours from the records of the dataset.
"""

import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from clmeeval_data.errors import ConfigError
from clmeeval_data.records import CSNE, Record

Slicing = Literal["target", "prompt", "library", "source", "similarity"]
SLICINGS: tuple[Slicing, ...] = get_args(Slicing)
FROM_RECORDS = ("source", "similarity")
BINS = 4
FEWEST = 5  # cases of a library: rarer ones share a group
UNKNOWN = "not in the dataset"
NO_LIBRARY = "no library"
ALIASES = {
    "np": "numpy",
    "pd": "pandas",
    "df": "pandas",
    "plt": "matplotlib",
    "mpl": "matplotlib",
    "sns": "seaborn",
    "sp": "scipy",
    "tf": "tensorflow",
    "ET": "xml",
    "bs4": "BeautifulSoup",
    "soup": "BeautifulSoup",
}
LIBRARIES = frozenset(
    {*ALIASES.values(), "requests", "django", "flask", "sqlalchemy", "selenium", "sklearn", "nltk", "torch", "yaml"}
    | {"lxml", "cv2", "PIL", "pytz", "dateutil", "psycopg2", "networkx", "sympy", "pytest", "httpx", "aiohttp"}
)
OFTEN_VARIABLES = frozenset(  # names of modules that count only where they are imported
    {"array", "cmd", "code", "dis", "email", "keyword", "numbers", "parser", "profile", "queue", "resource"}
    | {"secrets", "select", "signal", "site", "stat", "string", "symbol", "test", "this", "token", "types", "user"}
)

Entry = Mapping[str, Any]


def slice_by(
    entries: Iterable[Entry], by: Slicing, records: Mapping[str, Record] | None = None
) -> dict[str, list[str]]:
    """The ids of the cases by the label of their slice; every case is in one slice, none is empty.

    Args:
        entries: The entries of a run's journal.
        by: "target" or "prompt": length in characters, in four bins of as equal sizes as ties allow. "library": the
            first module that the code imports or names. "source": where the case comes from. "similarity": of the
            closest neighbour, in four bins.
        records: The dataset's records by case id, for "source" and "similarity".

    Raises:
        ConfigError: If ``by`` is unknown, or needs records and there are none.
    """
    found = sorted(entries, key=lambda entry: str(entry["id"]))
    if by not in SLICINGS:
        raise ConfigError(f"no slices by {by!r}. Expected one of {', '.join(SLICINGS)}.")
    if by in FROM_RECORDS:
        if records is None:
            raise ConfigError(f"slices by {by} need the dataset, which a run does not keep. Pass --dataset.")
        known = [entry for entry in found if str(entry["id"]) in records]
        of_record = _source if by == "source" else _similarity
        slices = _grouped(known, by, lambda entry: of_record(records[str(entry["id"])]))
        missing = [str(entry["id"]) for entry in found if str(entry["id"]) not in records]
        return {**slices, UNKNOWN: missing} if missing else slices
    if by == "library":
        return _grouped(found, by, lambda entry: library_of(code_of(entry)))
    return _grouped(found, by, lambda entry: float(len(entry["case"][by])))


def code_of(entry: Entry) -> str:
    """The code of a case: the target, or where the target describes a code, what the prompt asks about."""
    before, _, after = CSNE.template.partition("{}")
    prompt: str = entry["case"]["prompt"]
    if prompt.startswith(before) and prompt.endswith(after):
        return prompt[len(before) : len(prompt) - len(after)]
    return str(entry["case"]["target"])


def library_of(code: str) -> str:
    """The first module of the standard library or well-known package that a code imports or names, else "no library".

    ``np``, ``pd``, ``plt`` and the like count as what they are customarily short for.
    """
    from clmeeval_data.syntax import modules

    for name in (ALIASES.get(name, name) for name in modules(code)):
        known = name in LIBRARIES or name in sys.stdlib_module_names
        if known and (name not in OFTEN_VARIABLES or re.search(rf"\b(import|from)\s+{name}\b", code)):
            return name
    return NO_LIBRARY


def _source(record: Record) -> str:
    return record.provenance.source


def _similarity(record: Record) -> float:
    return max((neighbour.similarity for neighbour in record.neighborhood), default=0.0)


def _grouped(entries: Sequence[Entry], by: Slicing, value: Callable[[Entry], str | float]) -> dict[str, list[str]]:
    """The ids by a label made of each entry's value."""
    values = {str(entry["id"]): value(entry) for entry in entries}
    numbers = {case_id: number for case_id, number in values.items() if isinstance(number, float)}
    if numbers:
        return _binned(numbers, by)
    names = {case_id: str(name) for case_id, name in values.items()}
    if by == "library":
        names = _without_rare(names)
    order = sorted(Counter(names.values()).items(), key=lambda item: (-item[1], item[0]))
    return {label: [case_id for case_id, name in names.items() if name == label] for label, _ in order}


def _without_rare(names: Mapping[str, str]) -> dict[str, str]:
    """The libraries, with those of few cases as "other standard library" or "other package"."""
    count = Counter(names.values())

    def label(name: str) -> str:
        if name == NO_LIBRARY or count[name] >= FEWEST:
            return name
        return "other standard library" if name in sys.stdlib_module_names else "other package"

    return {case_id: label(name) for case_id, name in names.items()}


def _binned(numbers: Mapping[str, float], by: Slicing) -> dict[str, list[str]]:
    """Four bins of as equal sizes as ties allow, labelled with the least and the largest value in each."""
    ordered = sorted(numbers.values())
    starts = sorted({ordered[len(ordered) * part // BINS] for part in range(1, BINS)})
    bins: dict[int, list[str]] = {}
    for case_id in sorted(numbers, key=lambda case_id: (numbers[case_id], case_id)):
        bins.setdefault(bisect_right(starts, numbers[case_id]), []).append(case_id)
    return {_label([numbers[case_id] for case_id in ids], by): ids for ids in bins.values()}


def _label(values: Sequence[float], by: Slicing) -> str:
    low, high = (f"{value:.1f}" if by == "similarity" else f"{value:.0f}" for value in (min(values), max(values)))
    unit = "" if by == "similarity" else " characters"
    return f"{low}{unit}" if low == high else f"{low}–{high}{unit}"
