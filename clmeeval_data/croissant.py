"""A dataset described in Croissant 1.0 (JSON-LD), for tools that read datasets by their description.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clmeeval_data.atomic import written_aside
from clmeeval_data.card import CITATION, COLUMNS, SUMMARIES, TITLES, Rows
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

CROISSANT = "croissant.json"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


@dataclass(frozen=True)
class Release:
    """What a dataset has once it is published.

    Args:
        url: The page of it, such as ``https://huggingface.co/datasets/clmeeval/cnle``.
        base_url: Where its files can be had, with a slash at the end, such as
            ``https://huggingface.co/datasets/clmeeval/cnle/resolve/v1.0.0/``.
        version: Its version, such as ``1.0.0``; "" where it has none.
        published: The day, such as ``2025-04-27``.
    """

    url: str
    base_url: str
    version: str
    published: str


def write_croissant(folder: Path, benchmark: Benchmark[Any], rows: Rows, release: Release | None = None) -> Path:
    """Write the description into a folder that already holds its parquet files, as ``croissant.json``.

    The same dataset gives the same bytes.

    Raises:
        DatasetError: If a split has no parquet file of its own.
        OSError: If the file can't be written.
    """
    text = croissant_text(folder, benchmark, rows, release)
    path = folder / CROISSANT
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def croissant_text(folder: Path, benchmark: Benchmark[Any], rows: Rows, release: Release | None = None) -> str:
    """The description as the text of a file; see ``croissant``."""
    return json.dumps(croissant(folder, benchmark, rows, release), indent=1, ensure_ascii=False) + "\n"


def release_of(description: bytes) -> Release | None:
    """The release that a description of ours says it is of; None where it says nothing, or is none of ours."""
    try:
        found = json.loads(description)
        base_url, slash, _ = found["distribution"][0]["contentUrl"].rpartition("data/")
        release = Release(found["url"], base_url, found.get("version", ""), found["datePublished"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    texts = (release.url, release.base_url, release.version, release.published)
    return release if slash and all(isinstance(text, str) for text in texts) else None


def croissant(folder: Path, benchmark: Benchmark[Any], rows: Rows, release: Release | None = None) -> dict[str, Any]:
    """The description of a dataset: its files with their sha256, its columns, licences and citation.

    Args:
        folder: The dataset's folder, with its parquet files.
        benchmark: Which benchmark it is.
        rows: The rows of all splits, from which the licences are gathered.
        release: Where and when it was published. Without it the addresses of the files are relative to the folder,
            and there is no date and no version, which the specification asks for.

    Raises:
        DatasetError: If a split has no parquet file of its own.
    """
    files = {split: _file(_parquet(folder, split), split, release) for split in SPLITS}
    licences = {row["provenance"]["licence"] for split in SPLITS for row in rows[split]}
    published = {} if release is None else {"version": release.version, "datePublished": release.published}
    published = {name: text for name, text in published.items() if text}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": benchmark.name,
        "alternateName": TITLES[benchmark.name],
        "description": SUMMARIES[benchmark.name],
        "url": f"https://huggingface.co/datasets/clmeeval/{benchmark.name}" if release is None else release.url,
        "creator": {"@type": "sc:Organization", "name": "The CLMEEval authors"},
        "license": [_licence(name) for name in sorted(licences)],
        "citeAs": CITATION,
        "inLanguage": ["en"],
        "keywords": ["model editing", "code language models", "Python"],
        "isLiveDataset": False,
        **published,
        "distribution": list(files.values()),
        "recordSet": [_record_set(benchmark, split) for split in SPLITS],
    }


def _licence(name: str) -> str:
    """The address of a licence by its SPDX identifier; what is none stays as it is."""
    is_spdx = re.fullmatch(r"[\w.+-]+", name) and not name.startswith("LicenseRef-")
    return f"https://spdx.org/licenses/{name}.html" if is_spdx else name


def _parquet(folder: Path, split: str) -> Path:
    found = sorted((folder / "data").glob(f"{split}-*.parquet"))
    if len(found) != 1:
        raise DatasetError(
            f"{folder} has {len(found)} parquet files of its {split} split, expected one. Build the dataset again."
        )
    return found[0]


def _file(path: Path, split: str, release: Release | None) -> dict[str, Any]:
    content = path.read_bytes()
    base = "" if release is None else release.base_url
    return {
        "@type": "cr:FileObject",
        "@id": f"{split}.parquet",
        "name": path.name,
        "description": f"The cases of the {split} split.",
        "contentUrl": f"{base}data/{path.name}",
        "contentSize": f"{len(content)} B",
        "encodingFormat": "application/x-parquet",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _record_set(benchmark: Benchmark[Any], split: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"The cases of the {split} split.",
        "key": {"@id": f"{split}/case_id"},
        "field": [_field(benchmark, split, column) for column in arrow_schema(benchmark)],
    }


def _field(benchmark: Benchmark[Any], split: str, column: "pa.Field") -> dict[str, Any]:
    """A column; one that holds named fields, or a list of such, has them as its sub-fields."""
    import pyarrow as pa

    inner = column.type.value_type if pa.types.is_list(column.type) else column.type
    described = {
        "@type": "cr:Field",
        "@id": f"{split}/{column.name}",
        "name": column.name,
        "description": COLUMNS[benchmark.name][column.name],
    }
    if pa.types.is_list(column.type):
        described["repeated"] = True
    if pa.types.is_struct(inner):
        return {**described, "subField": list(_sub_fields(benchmark, split, column.name, inner))}
    return {**described, **_content(split, column.name, column.type)}


def _sub_fields(benchmark: Benchmark[Any], split: str, column: str, kind: "pa.StructType") -> Iterator[dict[str, Any]]:
    for inner in kind:
        content = _content(split, column, inner.type)
        content["source"]["transform"] = {"jsonPath": inner.name}
        yield {
            "@type": "cr:Field",
            "@id": f"{split}/{column}/{inner.name}",
            "name": inner.name,
            "description": COLUMNS[benchmark.name][f"{column}.{inner.name}"],
            **content,
        }


def _content(split: str, column: str, kind: "pa.DataType") -> dict[str, Any]:
    import pyarrow as pa

    return {
        "dataType": "sc:Float" if pa.types.is_floating(kind) else "sc:Text",
        "source": {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": column}},
    }
