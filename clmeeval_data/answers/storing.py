"""Configurations of answers on disk: written so that a reader never takes half of one for a whole one."""

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clmeeval_data import __version__, storage
from clmeeval_data.answers.card import write_card
from clmeeval_data.answers.form import KIND, Answering, CaseAnswers, arrow_schema, is_answers
from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.schema import SCHEMA_VERSION

_AGAIN = "Make the answers again with 'clmeeval-build answers'"
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class AnswersManifest:
    """What a configuration of answers says about itself.

    Attributes:
        benchmark: Which benchmark the dataset is of.
        answering: The model that answered, and how.
        dataset: The sha256 of each split of the dataset whose cases were asked.
        splits: How many cases of each split were answered, and the sha256 of the rows.
        left_out: The cases that the model cannot be asked, by their keys, with the reason.
        versions: Of the libraries.
    """

    benchmark: Benchmark[Any]
    answering: Answering
    dataset: Mapping[str, str]
    splits: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        return {
            "kind": KIND,
            "benchmark": self.benchmark.name,
            "schema_version": SCHEMA_VERSION,
            "answers": asdict(self.answering),
            "dataset": {"name": self.benchmark.name, "sha256": dict(self.dataset)},
            "splits": {split: dict(self.splits[split]) for split in SPLITS if split in self.splits},
            "left_out": dict(self.left_out),
            "versions": dict(self.versions),
        }


def parse_manifest(found: Mapping[str, Any], where: str) -> AnswersManifest:
    """A manifest that was read as JSON.

    Raises:
        DatasetError: If it is that of something else, of another schema version, or not whole.
    """
    if not is_answers(found):
        raise DatasetError(f"{where} holds no answers of a model. {_AGAIN}.")
    benchmark = storage.benchmark_named(found, where)
    try:
        splits = {name: dict(found["splits"][name]) for name in found["splits"]}
        if not splits or not set(splits) <= set(SPLITS):
            raise ValueError(f"splits {', '.join(splits) or 'none'}")
        return AnswersManifest(
            benchmark,
            Answering(**found["answers"]),
            dict(found["dataset"]["sha256"]),
            splits,
            dict(found.get("left_out", {})),
            dict(found.get("versions", {})),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"the manifest of {where} is not whole ({error}). {_AGAIN}.") from error


def read_manifest(folder: Path) -> AnswersManifest:
    """What a folder of answers says about itself.

    Raises:
        DatasetError: If the folder holds no answers, or its manifest is damaged.
    """
    return parse_manifest(storage.read_manifest(folder), str(folder))


def read_rows(path: Path) -> list[CaseAnswers]:
    """All rows of one parquet file.

    Raises:
        DatasetError: If it is missing, damaged, or in another schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.equals(arrow_schema(), check_metadata=False):
                return [CaseAnswers.from_row(row) for row in file.read().to_pylist()]
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing. {_AGAIN}.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DatasetError(f"{path} is truncated or damaged ({reason}). {_AGAIN}.") from error
    raise DatasetError(f"{path} does not have the columns of answers. {_AGAIN}.")


def read_answers(path: Path, manifest: AnswersManifest, split: str) -> list[CaseAnswers]:
    """The rows of a split, which are those that the manifest promises.

    Args:
        path: The split's parquet file.
        manifest: The manifest of its configuration.
        split: Its name.

    Raises:
        DatasetError: If the file is missing or damaged, or its rows are others.
    """
    rows = read_rows(path)
    promised = manifest.splits.get(split, {})
    if promised != _described(rows):
        raise DatasetError(f"{path} does not hold the answers that its manifest promises. {_AGAIN}.")
    return rows


def write_answers(
    folder: Path, manifest: AnswersManifest, splits: Mapping[str, Sequence[CaseAnswers]]
) -> AnswersManifest:
    """Write a configuration of answers: the rows, the card, and last the manifest, each complete or not at all.

    A reader that comes in between finds rows that the manifest does not promise, and takes none of them.

    Args:
        folder: The configuration's folder; files of an earlier one are replaced.
        manifest: What to say about it; counts, hashes and the versions of this package's libraries are added.
        splits: The rows of each split; a split without rows is not written.

    Returns:
        The manifest as written.

    Raises:
        DatasetError: If there is no row, or a file cannot be written.
    """
    kept = {split: list(splits[split]) for split in SPLITS if splits.get(split)}
    if not kept:
        raise DatasetError(f"there is no answer to write into {folder}. Expected at least one case.")
    ours = {name: version(name) for name in ("datasets", "pyarrow")}
    versions = {**manifest.versions, "clmeeval-data": __version__, "python": platform.python_version(), **ours}
    whole = AnswersManifest(
        manifest.benchmark,
        manifest.answering,
        manifest.dataset,
        {split: _described(rows) for split, rows in kept.items()},
        manifest.left_out,
        versions,
    )
    try:
        for split, rows in kept.items():
            with written_aside(storage.parquet_path(folder, split)) as aside:
                _write_parquet(aside, rows)
        write_card(folder, whole.as_dict(), {split: [row.to_row() for row in rows] for split, rows in kept.items()})
        with written_aside(folder / storage.MANIFEST) as aside:
            text = json.dumps(whole.as_dict(), indent=1, sort_keys=True, ensure_ascii=False)
            aside.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise DatasetError(
            f"cannot write the answers {folder}: {error.strerror or error}. Choose another --out or make room, and run "
            "it again."
        ) from error
    return whole


def check_answers(folder: Path) -> list[str]:
    """Everything that keeps a folder of answers from being published, in words; empty where all is well."""
    try:
        manifest = read_manifest(folder)
    except DatasetError as error:
        return [str(error)]
    problems = [] if (folder / "README.md").is_file() else [f"{folder / 'README.md'} is missing"]
    known = {storage.parquet_path(folder, split) for split in manifest.splits}
    inside = sorted((folder / "data").iterdir()) if (folder / "data").is_dir() else []
    problems += [f"{path} is not a file of these answers: delete it" for path in inside if path not in known]
    times: Counter[str] = Counter()
    for split in manifest.splits:
        try:
            rows = read_answers(storage.parquet_path(folder, split), manifest, split)
        except DatasetError as error:
            problems.append(str(error))
            continue
        times.update(row.case_id for row in rows)
        problems += [f"{split} {row.case_id}: {flaw}" for row in rows for flaw in _flaws(row)]
    return problems + [f"{case_id} occurs {count} times" for case_id, count in times.items() if count > 1]


def _flaws(row: CaseAnswers) -> list[str]:
    found = [] if row.key.startswith(f"{row.case_id}-") else [f"the key {row.key!r} is not one of this case"]
    if any(one < 0 for answer in row.answers for one in answer.ids):
        found.append("a token id is negative")
    return found


def _described(rows: Sequence[CaseAnswers]) -> dict[str, Any]:
    return {"examples": len(rows), "sha256": storage.content_hash(row.to_row() for row in rows)}


def _write_parquet(path: Path, rows: Iterable[CaseAnswers]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema()
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_content_defined_chunking=True, write_page_index=True
    ) as file:
        table = pa.Table.from_pylist([row.to_row() for row in rows], schema=schema)
        file.write_table(table, row_group_size=_ROWS_AT_ONCE)
