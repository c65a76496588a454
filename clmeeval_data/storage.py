"""Datasets on disk: one parquet file per split, a manifest and a card, written aside and then renamed into place.

The same records give the same bytes for one version of pyarrow; the manifest's sha256 of each split's canonical JSON
lines is the same for all versions.
"""

import errno
import glob
import gzip
import hashlib
import json
import platform
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import clmeeval_data
from clmeeval_data.atomic import written_aside
from clmeeval_data.card import write_card
from clmeeval_data.croissant import CROISSANT, write_croissant
from clmeeval_data.errors import DatasetError, SourceError
from clmeeval_data.records import BENCHMARKS, SPLITS, Benchmark, Record
from clmeeval_data.schema import SCHEMA_VERSION, arrow_schema, schema_differences

MANIFEST = "manifest.json"
DROPPED = "dropped.jsonl.gz"
_OURS = ("data", MANIFEST, "README.md", CROISSANT, DROPPED)
_ROWS_AT_ONCE = 10_000


def parquet_path(folder: Path, split: str) -> Path:
    """Where a split of a dataset is kept."""
    return folder / "data" / f"{split}-00000-of-00001.parquet"


def write_dataset(
    folder: Path,
    benchmark: Benchmark[Any],
    splits: Mapping[str, Iterable[Record]],
    manifest: Mapping[str, Any],
    dropped: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """Write a whole dataset: its three splits, its manifest, its card, and the rows that did not get into it.

    The folder appears, or replaces the dataset that was there, only once everything is written. Files in it that no
    build wrote are kept. What a writer that was killed left beside the folder is put in order first, so a folder has
    one writer at a time. The records are drawn one at a time; only the card needs the rows of all splits at once.

    Args:
        folder: The dataset's folder.
        benchmark: Which benchmark the records belong to.
        splits: The records of the train, validation and test split; none may be empty.
        manifest: How the dataset was made, as JSON values. ``command`` is the command that builds it again;
            ``limits`` is a list of sentences for the card. The counts, hashes and versions are added to it.
        dropped: The rows that were left out, as JSON values with their reason; None writes no file of them.

    Raises:
        DatasetError: If a split is empty or unknown, a record does not fit the schema, the folder holds something else
            than a dataset, or it cannot be written.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise DatasetError(f"unknown split {unknown[0]!r}. Known: {', '.join(SPLITS)}.")
    try:
        _recover(folder.resolve())
        check_replaceable(folder)
        with _folder_written_aside(folder.resolve()) as aside:
            (aside / "data").mkdir()
            written = {
                split: _write_parquet(
                    parquet_path(aside, split), benchmark, map(benchmark.to_row, splits.get(split, ()))
                )
                for split in SPLITS
            }
            _check_none_empty(written)
            whole = _complete_manifest(benchmark, written, manifest)
            text = json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False)
            (aside / MANIFEST).write_text(text + "\n", encoding="utf-8")
            if dropped is not None:
                _write_lines(aside / DROPPED, dropped, packed=True)
            rows = {split: read_parquet(parquet_path(aside, split), benchmark) for split in SPLITS}
            write_card(aside, benchmark, rows, whole)
            write_croissant(aside, benchmark, rows)
    except OSError as error:
        raise DatasetError(
            f"cannot write the dataset {folder}: {error.strerror or error}. Choose a folder that you may write to"
            f"{_room(error)}."
        ) from error


def check_replaceable(folder: Path) -> None:
    """A dataset may be written to a folder: it does not exist, is empty, or holds a dataset of ours.

    Raises:
        DatasetError: If it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    with suppress(DatasetError):
        if read_manifest(folder).get("benchmark") in BENCHMARKS:
            return
    kind = "a folder that holds something else" if folder.is_dir() else "a file"
    raise DatasetError(
        f"{folder} is {kind}, not a dataset of ours; it was left as it is. Choose another --out, or move it away."
    )


def read_split(folder: Path, split: str) -> list[Record]:
    """The records of one split of a dataset.

    Raises:
        DatasetError: If the folder is no dataset, the split is unknown, or its file is missing, damaged or of another
            schema.
    """
    benchmark = benchmark_of(folder)
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {folder}. Known: {', '.join(SPLITS)}.")
    path = parquet_path(folder, split)
    return to_records(benchmark, read_parquet(path, benchmark), str(path))


def read_manifest(folder: Path) -> dict[str, Any]:
    """How a dataset was made, with its counts, hashes and versions.

    Raises:
        DatasetError: If the folder or its manifest is missing, or the manifest is no JSON object.
    """
    if not folder.is_dir():
        raise DatasetError(f"no dataset folder {folder}. Build one: clmeeval-build cnle --out {folder}.")
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{folder} has no {MANIFEST}, so it is not a dataset of ours. Build one: clmeeval-build cnle --out DIR."
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as JSON ({error}). Build the dataset again.") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{path} holds a {type(found).__name__}, not a JSON object. Build the dataset again.")
    return found


def benchmark_of(folder: Path) -> Benchmark[Any]:
    """Which benchmark a dataset folder holds.

    Raises:
        DatasetError: If the folder is no dataset, or one of an unknown benchmark or another schema version.
    """
    return benchmark_named(read_manifest(folder), str(folder))


def benchmark_named(manifest: Mapping[str, Any], where: str) -> Benchmark[Any]:
    """The benchmark that a manifest names, if its schema version is the one that this package reads.

    Raises:
        DatasetError: If it is an unknown benchmark or another schema version.
    """
    name, found = manifest.get("benchmark"), manifest.get("schema_version")
    if name not in BENCHMARKS:
        raise DatasetError(f"{where} holds the benchmark {name!r}. Expected one of {', '.join(sorted(BENCHMARKS))}.")
    if found != SCHEMA_VERSION:
        raise DatasetError(
            f"{where} has schema version {found!r}, this package reads {SCHEMA_VERSION!r}. "
            f"Build it again with clmeeval-build {name}, or install the version of clmeeval-data that wrote it."
        )
    return BENCHMARKS[name]


def read_parquet(path: Path, benchmark: Benchmark[Any]) -> list[dict[str, Any]]:
    """The rows of one parquet file, with the columns of the benchmark's records.

    Raises:
        DatasetError: If the file is missing, damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            differences = schema_differences(benchmark, file.schema_arrow)
            if not differences:
                rows: list[dict[str, Any]] = file.read(columns=arrow_schema(benchmark).names).to_pylist()
                return rows
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: the dataset is incomplete. Build or download it again.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DatasetError(f"{path} is truncated or damaged ({reason}). Build or download it again.") from error
    raise DatasetError(f"{path} is not in the schema of {benchmark.name}: {'; '.join(differences)}. Build it again.")


def to_records(benchmark: Benchmark[Any], rows: Iterable[Mapping[str, Any]], where: str) -> list[Record]:
    """Rows as typed records.

    Raises:
        DatasetError: If a field is missing or null.
    """
    records: list[Record] = []
    for number, row in enumerate(rows):
        try:
            if _has_null(row):
                raise ValueError("a field is null")
            records.append(benchmark.from_row(row))
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"row {number} of {where} is not a {benchmark.name} record ({error}). Build the dataset again."
            ) from error
    return records


def content_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """The sha256 of rows as canonical JSON lines: sorted keys, no spaces, ASCII, one line feed after each row."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(_canonical(row))
    return digest.hexdigest()


def _canonical(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, gzipped where the name ends in ``.gz``; the file appears once it is complete.

    The rows are drawn one at a time. The same rows give the same bytes.

    Raises:
        DatasetError: If it cannot be written.
    """
    try:
        with written_aside(path) as aside:
            _write_lines(aside, rows, packed=path.suffix == ".gz")
    except OSError as error:
        raise DatasetError(
            f"cannot write {path}: {error.strerror or error}. Choose a file that you may write to{_room(error)}."
        ) from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines, one at a time; empty lines are skipped. A name in ``.gz`` is unpacked.

    Raises:
        SourceError: If the file is missing or damaged, or a line is not a JSON object.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse_line(line, f"{path}:{number}")
    except FileNotFoundError:
        raise SourceError(f"no file {path}. Expected JSON lines; check the path.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read after line {number} ({error}). Get the file again.") from error


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]], packed: bool) -> None:
    lines = ((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace") for row in rows)
    with path.open("wb") as file:
        if packed:
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as archive:
                archive.writelines(lines)
        else:
            file.writelines(lines)


def _room(error: OSError) -> str:
    """What else to do where the disk, or the user's share of it, is full."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return " and that has room, or make room, and run the same command again" if is_full else ""


def _check_none_empty(written: Mapping[str, Mapping[str, Any]]) -> None:
    empty = [split for split in SPLITS if not written[split]["examples"]]
    if empty:
        counts = ", ".join(f"{split} {written[split]['examples']}" for split in SPLITS)
        raise DatasetError(
            f"the {' and '.join(empty)} split would be empty ({counts}). Every split needs at least one case: "
            "raise --limit, or add a source."
        )


def _complete_manifest(
    benchmark: Benchmark[Any], splits: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **manifest,
        "benchmark": benchmark.name,
        "schema_version": SCHEMA_VERSION,
        "splits": dict(splits),
        "versions": {
            "clmeeval-data": clmeeval_data.__version__,
            "datasets": version("datasets"),
            "pyarrow": version("pyarrow"),
            "python": platform.python_version(),
        },
    }


def _write_parquet(path: Path, benchmark: Benchmark[Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the rows of a split, some at a time; what the manifest says about them: how many, and their hash."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, digest, waiting, schema = 0, hashlib.sha256(), iter(rows), arrow_schema(benchmark)
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_content_defined_chunking=True, write_page_index=True
    ) as file:
        while some := list(islice(waiting, _ROWS_AT_ONCE)):
            try:
                table = pa.Table.from_pylist(some, schema=schema)
            except (pa.ArrowException, UnicodeEncodeError) as error:
                raise DatasetError(
                    f"a record of {path.name} does not fit the schema of {benchmark.name} ({error}). Expected text "
                    "without lone surrogates, and similarities that are numbers: drop or repair the record."
                ) from error
            file.write_table(table.combine_chunks(), row_group_size=_ROWS_AT_ONCE)
            for row in some:
                digest.update(_canonical(row))
            count += len(some)
    return {"examples": count, "sha256": digest.hexdigest()}


@contextmanager
def _folder_written_aside(folder: Path) -> Iterator[Path]:
    """A folder beside the given one, which takes its place when the block ends well and vanishes when it does not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    aside, replaced = (folder.parent / f".{folder.name}.{word}-{mark}" for word in ("new", "old"))
    aside.mkdir()
    try:
        yield aside
        _swap(folder, aside, replaced)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _swap(folder: Path, aside: Path, replaced: Path) -> None:
    """Put the new folder in place; what no build wrote moves over from the old one, which is then deleted."""
    if not folder.exists():
        aside.rename(folder)
        return
    folder.rename(replaced)
    try:
        aside.rename(folder)
    except OSError:
        replaced.rename(folder)
        raise
    _take_over(folder, replaced)


def _take_over(folder: Path, replaced: Path) -> None:
    """Move what no build wrote from a replaced dataset to the one in its place, and delete the rest."""
    for entry in replaced.iterdir():
        if entry.name not in _OURS:
            entry.rename(folder / entry.name)
    shutil.rmtree(replaced)


def _recover(folder: Path) -> None:
    """Finish what a killed writer of this folder left beside it, so that nothing is lost and nothing lies around."""
    for replaced in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.old-*")):
        if folder.exists():
            _take_over(folder, replaced)
        else:
            replaced.rename(folder)
    for aside in folder.parent.glob(f".{glob.escape(folder.name)}.new-*"):
        shutil.rmtree(aside)


def _has_null(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_has_null(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_null(item) for item in value)
    return value is None


def _parse_line(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:
        raise SourceError(f"{where}: not JSON ({error}). Repair or remove the line.") from error
    if not isinstance(row, dict):
        raise SourceError(f"{where}: a JSON {type(row).__name__}, expected an object. Repair or remove the line.")
    return row
