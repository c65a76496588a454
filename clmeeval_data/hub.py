"""Datasets by location: a folder that ``clmeeval-build`` wrote, or an id on the Hugging Face Hub."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from clmeeval_data import storage
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import BENCHMARKS, CNLE, CSNE, SPLITS, Benchmark, CnleRecord, CsneRecord, Record
from clmeeval_data.schema import arrow_schema, schema_differences

if TYPE_CHECKING:
    from datasets import Dataset

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


class OpenSplit(NamedTuple):
    """One split of a dataset, with the benchmark that it belongs to."""

    benchmark: Benchmark[Any]
    records: list[Record]


def load_cnle(
    location: str = "clmeeval/cnle", split: str = "test", revision: str | None = None, cache_dir: Path | None = None
) -> list[CnleRecord]:
    """The cases of one split of CNLE.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        split: "train", "validation" or "test".
        revision: A branch, tag or commit on the Hub.
        cache_dir: Where a dataset from the Hub is kept, instead of the cache of ``datasets``.

    Raises:
        DatasetError: If there is no such dataset or split, it is damaged, or it is not CNLE.
    """
    return cast("list[CnleRecord]", _load(CNLE, location, split, revision, cache_dir))


def load_csne(
    location: str = "clmeeval/csne", split: str = "test", revision: str | None = None, cache_dir: Path | None = None
) -> list[CsneRecord]:
    """The cases of one split of CSNE.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        split: "train", "validation" or "test".
        revision: A branch, tag or commit on the Hub.
        cache_dir: Where a dataset from the Hub is kept, instead of the cache of ``datasets``.

    Raises:
        DatasetError: If there is no such dataset or split, it is damaged, or it is not CSNE.
    """
    return cast("list[CsneRecord]", _load(CSNE, location, split, revision, cache_dir))


def open_split(location: str, split: str, revision: str | None = None, cache_dir: Path | None = None) -> OpenSplit:
    """One split of a dataset folder or of a dataset on the Hub, of whichever benchmark it is.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        split: "train", "validation" or "test".
        revision: A branch, tag or commit on the Hub.
        cache_dir: Where a dataset from the Hub is kept, instead of the cache of ``datasets``.

    Raises:
        DatasetError: If there is no such dataset or split, it is damaged, lacks a column, or has another schema
            version.
    """
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {location}. Known: {', '.join(SPLITS)}.")
    folder = Path(location)
    if not location or not folder.is_dir():
        return _open_on_hub(location, split, revision, cache_dir)
    if revision is not None:
        raise DatasetError(
            f"revision {revision!r} was asked for, but {location} is a folder here, which is read first and has no "
            "revisions. Leave the revision out, or run from another working directory."
        )
    return OpenSplit(storage.benchmark_of(folder), storage.read_split(folder, split))


def _load(
    benchmark: Benchmark[Any], location: str, split: str, revision: str | None, cache_dir: Path | None
) -> list[Record]:
    opened = open_split(location, split, revision, cache_dir)
    if opened.benchmark is not benchmark:
        name = opened.benchmark.name
        raise DatasetError(f"{location} is a {name} dataset, expected {benchmark.name}. Load it with load_{name}().")
    return opened.records


def _open_on_hub(location: str, split: str, revision: str | None, cache_dir: Path | None) -> OpenSplit:
    if not _HUB_ID.fullmatch(location) or Path(location).exists():
        raise DatasetError(f"no dataset folder {location!r}. {_advice()}")
    dataset = _download(location, split, revision, cache_dir)
    manifest = _manifest_on_hub(location, revision, cache_dir)
    benchmark = storage.benchmark_named(manifest, location) if manifest else _benchmark_with(dataset, location)
    differences = schema_differences(benchmark, dataset.features.arrow_schema)
    if differences:
        raise DatasetError(
            f"{location} is not in the schema of {benchmark.name}: {'; '.join(differences)}. "
            "Check the id and the revision, or build the dataset with clmeeval-build."
        )
    rows = dataset.select_columns(arrow_schema(benchmark).names).to_list()
    return OpenSplit(benchmark, storage.to_records(benchmark, rows, f"{location} ({split})"))


def _download(location: str, split: str, revision: str | None, cache_dir: Path | None) -> "Dataset":
    import datasets

    try:
        return datasets.load_dataset(
            location, split=split, revision=revision, cache_dir=None if cache_dir is None else str(cache_dir)
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        at = f" at revision {revision!r}" if revision else ""
        reason = " ".join(str(error).split()).rstrip(".")
        raise DatasetError(
            f"{location!r} is not a folder here, and its {split} split cannot be loaded from the Hub{at}: {reason}. "
            f"{_advice()}"
        ) from error


def _manifest_on_hub(location: str, revision: str | None, cache_dir: Path | None) -> dict[str, Any] | None:
    """The manifest beside a dataset on the Hub, or None where it has none or cannot be reached."""
    import huggingface_hub

    try:
        path = huggingface_hub.hf_hub_download(
            location, storage.MANIFEST, repo_type="dataset", revision=revision, cache_dir=cache_dir
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
