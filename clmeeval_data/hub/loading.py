"""Datasets by location: a folder that ``clmeeval-build`` wrote, or an id on the Hugging Face Hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

from clmeeval_data import storage
from clmeeval_data.errors import DatasetError
from clmeeval_data.hub.revisions import check_loaded, check_revision, is_on_hub
from clmeeval_data.records import BENCHMARKS, CNLE, CSNE, SPLITS, Benchmark, CnleRecord, CsneRecord, Record
from clmeeval_data.schema import arrow_schema, features, schema_differences

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT = "default"


class OpenSplit(NamedTuple):
    """One split of a dataset, with the benchmark that it belongs to."""

    benchmark: Benchmark[Any]
    records: list[Record]


@overload
def load_cnle(
    location: str = ...,
    split: str = ...,
    revision: str | None = ...,
    cache_dir: Path | None = ...,
    config: str | None = ...,
    as_dataset: Literal[False] = ...,
) -> list[CnleRecord]: ...


@overload
def load_cnle(
    location: str = ...,
    split: str = ...,
    revision: str | None = ...,
    cache_dir: Path | None = ...,
    config: str | None = ...,
    *,
    as_dataset: Literal[True],
) -> "Dataset": ...


def load_cnle(
    location: str = "clmeeval/cnle",
    split: str = "test",
    revision: str | None = None,
    cache_dir: Path | None = None,
    config: str | None = None,
    as_dataset: bool = False,
) -> "list[CnleRecord] | Dataset":
    """The cases of one split of CNLE.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        split: "train", "validation" or "test".
        revision: A branch, tag or commit on the Hub.
        cache_dir: Where a dataset from the Hub is kept, instead of the cache of ``datasets``.
        config: A further configuration of the dataset, e.g. "sample"; None for the whole benchmark.
        as_dataset: Give a ``datasets.Dataset`` instead of typed records.

    Raises:
        DatasetError: If there is no such dataset, configuration or split, it is damaged, or it is not CNLE.
    """
    if as_dataset:
        return _load_dataset(CNLE, location, split, revision, cache_dir, config)
    return cast("list[CnleRecord]", _load(CNLE, location, split, revision, cache_dir, config))


@overload
def load_csne(
    location: str = ...,
    split: str = ...,
    revision: str | None = ...,
    cache_dir: Path | None = ...,
    config: str | None = ...,
    as_dataset: Literal[False] = ...,
) -> list[CsneRecord]: ...


@overload
def load_csne(
    location: str = ...,
    split: str = ...,
    revision: str | None = ...,
    cache_dir: Path | None = ...,
    config: str | None = ...,
    *,
    as_dataset: Literal[True],
) -> "Dataset": ...


def load_csne(
    location: str = "clmeeval/csne",
    split: str = "test",
    revision: str | None = None,
    cache_dir: Path | None = None,
    config: str | None = None,
    as_dataset: bool = False,
) -> "list[CsneRecord] | Dataset":
    """The cases of one split of CSNE.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        split: "train", "validation" or "test".
        revision: A branch, tag or commit on the Hub.
        cache_dir: Where a dataset from the Hub is kept, instead of the cache of ``datasets``.
        config: A further configuration of the dataset, e.g. "sample"; None for the whole benchmark.
        as_dataset: Give a ``datasets.Dataset`` instead of typed records.

    Raises:
        DatasetError: If there is no such dataset, configuration or split, it is damaged, or it is not CSNE.
    """
    if as_dataset:
        return _load_dataset(CSNE, location, split, revision, cache_dir, config)
    return cast("list[CsneRecord]", _load(CSNE, location, split, revision, cache_dir, config))


def open_split(
    location: str,
    split: str,
    revision: str | None = None,
    cache_dir: Path | None = None,
    config: str | None = None,
) -> OpenSplit:
    """One split of a dataset folder or of a dataset on the Hub, of whichever benchmark it is.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        split: "train", "validation" or "test".
        revision: A branch, tag or commit on the Hub.
        cache_dir: Where a dataset from the Hub is kept, instead of the cache of ``datasets``.
        config: A further configuration of the dataset; None for the whole benchmark.

    Raises:
        DatasetError: If there is no such dataset, configuration or split, it is damaged, lacks a column, or has
            another schema version.
    """
    folder = _folder(location, split, revision, config)
    if folder is not None:
        return OpenSplit(storage.benchmark_of(folder), storage.read_split(folder, split))
    benchmark, dataset = _open_on_hub(location, split, revision, cache_dir, config)
    return OpenSplit(benchmark, storage.to_records(benchmark, dataset.to_list(), f"{location} ({split})"))


def open_dataset(
    location: str,
    split: str,
    revision: str | None = None,
    cache_dir: Path | None = None,
    config: str | None = None,
) -> "tuple[Benchmark[Any], Dataset]":
    """What ``open_split`` opens, as a ``datasets.Dataset`` with the columns of the benchmark's records.

    Raises:
        DatasetError: As ``open_split`` does; whether a row is whole is not looked at.
    """
    folder = _folder(location, split, revision, config)
    if folder is None:
        return _open_on_hub(location, split, revision, cache_dir, config)
    import datasets

    benchmark = storage.benchmark_of(folder)
    rows = storage.read_parquet(storage.parquet_path(folder, split), benchmark)
    return benchmark, datasets.Dataset.from_list(rows, features=features(benchmark))


def _load(benchmark: Benchmark[Any], location: str, *where: Any) -> list[Record]:
    opened = open_split(location, *where)
    _check_benchmark(benchmark, opened.benchmark, location)
    return opened.records


def _load_dataset(benchmark: Benchmark[Any], location: str, *where: Any) -> "Dataset":
    found, dataset = open_dataset(location, *where)
    _check_benchmark(benchmark, found, location)
    return dataset


def _check_benchmark(expected: Benchmark[Any], found: Benchmark[Any], location: str) -> None:
    if found is not expected:
        raise DatasetError(
            f"{location} is a {found.name} dataset, expected {expected.name}. Load it with load_{found.name}()."
        )


def _folder(location: str, split: str, revision: str | None, config: str | None) -> Path | None:
    """The folder on this machine that holds a configuration of a dataset; None where it is to be had from the Hub."""
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {location}. Known: {', '.join(SPLITS)}.")
    folder = Path(location)
    if not location or not folder.is_dir():
        return None
    check_revision(location, revision)
    if config in (None, DEFAULT):
        return folder
    part = folder / str(config)
    if not (part / storage.MANIFEST).is_file():
        raise DatasetError(
            f"{location} is a folder here, which is read first, and has no configuration {config!r}. "
            "Leave the configuration out, or run from another working directory."
        )
    return part


def _open_on_hub(
    location: str, split: str, revision: str | None, cache_dir: Path | None, config: str | None
) -> "tuple[Benchmark[Any], Dataset]":
    if not is_on_hub(location):
        raise DatasetError(f"no dataset folder {location!r}. {_advice()}")
    dataset = _download(location, split, revision, cache_dir, config)
    manifest = _manifest_on_hub(location, revision, cache_dir, config)
    benchmark = storage.benchmark_named(manifest, location) if manifest else _benchmark_with(dataset, location)
    differences = schema_differences(benchmark, dataset.features.arrow_schema)
    if differences:
        raise DatasetError(
            f"{location} is not in the schema of {benchmark.name}: {'; '.join(differences)}. "
            "Check the id and the revision, or build the dataset with clmeeval-build."
        )
    return benchmark, dataset.select_columns(arrow_schema(benchmark).names)


def _download(location: str, split: str, revision: str | None, cache_dir: Path | None, config: str | None) -> "Dataset":
    import datasets

    cache = None if cache_dir is None else str(cache_dir)
    which = () if config is None else (config,)
    try:
        loaded = datasets.load_dataset(location, *which, split=split, revision=revision, cache_dir=cache)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        at = f" at revision {revision!r}" if revision else ""
        of = f" of its configuration {config!r}" if config else ""
        reason = " ".join(str(error).split()).rstrip(".")
        raise DatasetError(
            f"{location!r} is not a folder here, and its {split} split{of} cannot be loaded from the Hub{at}: "
            f"{reason}. {_advice()}"
        ) from error
    if revision is not None:
        check_loaded(loaded, location, revision)
    return loaded


def _manifest_on_hub(
    location: str, revision: str | None, cache_dir: Path | None, config: str | None
) -> dict[str, Any] | None:
    """The manifest beside a dataset on the Hub, or None where it has none or cannot be reached."""
    import huggingface_hub

    name = storage.MANIFEST if config in (None, DEFAULT) else f"{config}/{storage.MANIFEST}"
    try:
        path = huggingface_hub.hf_hub_download(
            location, name, repo_type="dataset", revision=revision, cache_dir=cache_dir
        )
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _benchmark_with(dataset: "Dataset", location: str) -> Benchmark[Any]:
    """The benchmark that has a dataset's columns, for datasets without a manifest."""
    for benchmark in BENCHMARKS.values():
        if benchmark.prompt_field in dataset.column_names:
            return benchmark
    expected = " or ".join(repr(benchmark.prompt_field) for benchmark in BENCHMARKS.values())
    raise DatasetError(
        f"{location} has neither column {expected}, but {', '.join(dataset.column_names)}. "
        "Expected a dataset built by clmeeval-build: check the id."
    )


def _advice() -> str:
    return "Build one with 'clmeeval-build cnle --out FOLDER', or check the folder's path or the id on the Hub."
