"""Everything that is wrong with a dataset folder: all of it, not the first thing."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.schema import SCHEMA_VERSION, VERSION_KEY, extra_columns

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (a file, or a split and a case id), and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_dataset(path: str | Path) -> list[Problem]:
    """Compare a dataset folder with its manifest and with what every dataset promises; empty where all is well.

    Checked are the files, the schema, the counts and hashes of the manifest, and per case: its id, its texts, its
    neighbours, and that its group is in no other split. A problem never hides those in other files or cases.
    """
    folder = Path(path)
    try:
        manifest = storage.read_manifest(folder)
        benchmark = storage.benchmark_named(manifest, str(folder))
    except DatasetError as error:
        return [Problem(str(folder), str(error))]
    problems = [] if (folder / "README.md").is_file() else [Problem(str(folder / "README.md"), "is missing")]
    problems += _check_data_folder(folder)
    rows: dict[str, Sequence[Row]] = {}
    for split in SPLITS:
        try:
            rows[split] = storage.read_parquet(storage.parquet_path(folder, split), benchmark)
        except DatasetError as error:
            problems.append(Problem(split, str(error)))
            continue
        problems += _check_columns(folder, split, benchmark)
        problems += _check_manifest(split, rows[split], manifest)
        problems += _check_cases(split, rows[split], benchmark)
    return problems + _check_ids(rows) + _check_groups(rows)


def _check_data_folder(folder: Path) -> list[Problem]:
    known = {storage.parquet_path(folder, split) for split in SPLITS}
    found = (folder / "data").iterdir() if (folder / "data").is_dir() else ()
    return [
        Problem(str(path), "is not a file of this dataset: delete it") for path in sorted(found) if path not in known
    ]


def _check_columns(folder: Path, split: str, benchmark: Benchmark[Any]) -> list[Problem]:
    import pyarrow.parquet as pq

    found = pq.read_schema(storage.parquet_path(folder, split))
    problems = [Problem(split, f"unknown column {name!r}") for name in extra_columns(benchmark, found)]
    version = (found.metadata or {}).get(VERSION_KEY)
    if version != SCHEMA_VERSION.encode():
        written = "no schema version" if version is None else f"schema version {version.decode(errors='replace')!r}"
        problems.append(Problem(split, f"the parquet file carries {written}, expected {SCHEMA_VERSION!r}"))
    return problems


def _check_manifest(split: str, rows: Sequence[Row], manifest: Row) -> list[Problem]:
    splits = manifest.get("splits")
    promised = splits.get(split) if isinstance(splits, dict) else None
    if not isinstance(promised, dict):
        return [Problem(split, f"{storage.MANIFEST} says nothing about this split")]
    problems = []
    if promised.get("examples") != len(rows):
        problems.append(Problem(split, f"has {len(rows)} cases, {storage.MANIFEST} says {promised.get('examples')}"))
    if promised.get("sha256") != storage.content_hash(rows):
        problems.append(Problem(split, f"its content is not what {storage.MANIFEST} says: the sha256 differ"))
    if not rows:
        problems.append(Problem(split, "has no case"))
    return problems


def _check_cases(split: str, rows: Sequence[Row], benchmark: Benchmark[Any]) -> list[Problem]:
    problems = []
    for number, row in enumerate(rows):
        where = f"{split} {row['case_id'] or f'row {number}'}"
        bad = [name for name, value in _leaves(row) if value is None]
        if bad:
            problems += [Problem(where, f"{name} is null") for name in bad]
            continue
        for check in (_null_bytes, _identity, _texts_of_case, _neighbours):
            problems += [Problem(where, what) for what in check(row, benchmark)]
    return problems


def _null_bytes(row: Row, _benchmark: Benchmark[Any]) -> Iterator[str]:
    yield from (f"{name} holds a null byte" for name, value in _leaves(row) if "\0" in str(value))


def _identity(row: Row, benchmark: Benchmark[Any]) -> Iterator[str]:
    expected = benchmark.case_id(row[benchmark.prompt_field], row[benchmark.target_field])
    if row["case_id"] != expected:
        yield f"case_id is not that of its {benchmark.prompt_field} and {benchmark.target_field}: {expected}"


def _texts_of_case(row: Row, benchmark: Benchmark[Any]) -> Iterator[str]:
    """Problems of the prompt, the rephrased prompt and the target, and of where they come from."""
    fields = (benchmark.prompt_field, benchmark.rephrased_field, benchmark.target_field)
    prompt, rephrased, target = (row[field].strip() for field in fields)
    yield from (f"{field} is empty" for field in fields if not row[field].strip())
    yield from (
        f"provenance.{name} is empty" for name in ("source", "group", "licence") if not row["provenance"][name].strip()
    )
    if prompt and prompt == rephrased:
        yield f"{benchmark.rephrased_field} is the same as {benchmark.prompt_field}"
    if target and target in prompt:
        yield f"{benchmark.prompt_field} contains the {benchmark.target_field}"
    if target and target in rephrased:
        yield f"{benchmark.rephrased_field} contains the {benchmark.target_field}"


def _neighbours(row: Row, benchmark: Benchmark[Any]) -> Iterator[str]:
    found = row["neighborhood"]
    for place, neighbour in enumerate(found):
        where = f"neighborhood[{place}]"
        for field in (benchmark.prompt_field, benchmark.target_field):
            if not neighbour[field].strip():
                yield f"{where}.{field} is empty"
            elif neighbour[field].strip() == row[field].strip():
                yield f"{where} has the same {field} as the case"
        if not 0 <= neighbour["similarity"] <= 100:
            yield f"{where}.similarity is {neighbour['similarity']}, expected 0 to 100"
    if any(later["similarity"] > earlier["similarity"] for earlier, later in pairwise(found)):
        yield "neighborhood is not sorted by falling similarity"


def _check_ids(rows: Mapping[str, Sequence[Row]]) -> list[Problem]:
    places = _places(rows, lambda row: row["case_id"])
    return [
        Problem(case_id, f"occurs {len(splits)} times: {', '.join(splits)}")
        for case_id, splits in places.items()
        if len(splits) > 1
    ]


def _check_groups(rows: Mapping[str, Sequence[Row]]) -> list[Problem]:
    places = _places(rows, lambda row: row["provenance"]["group"])
    return [
        Problem(f"group {group}", f"is in more than one split: {', '.join(sorted(set(splits)))}")
        for group, splits in places.items()
        if len(set(splits)) > 1
    ]


def _places(rows: Mapping[str, Sequence[Row]], key: Callable[[Row], Any]) -> dict[Any, list[str]]:
    """The splits in which each key occurs, once per row; rows with nulls, which are reported elsewhere, left out."""
    places: dict[Any, list[str]] = defaultdict(list)
    for split in rows:
        for row in rows[split]:
            if row["provenance"] is not None and key(row) is not None:
                places[key(row)].append(split)
    return places


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every single value inside a row, with its path: ``intent``, ``neighborhood[0].snippet``, ``provenance.group``."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{place}]")
    else:
        yield name, value
