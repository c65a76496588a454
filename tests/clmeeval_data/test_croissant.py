"""The Croissant description, against the files themselves and against mlcroissant, which defines what is valid."""

import functools
import hashlib
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from clmeeval_data.card import COLUMNS
from clmeeval_data.croissant import Release, croissant, release_of, write_croissant
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import BENCHMARKS, CNLE, SPLITS, Provenance
from clmeeval_data.schema import arrow_schema
from clmeeval_data.storage import parquet_path, read_parquet, write_dataset

PAGE = "https://huggingface.co/datasets/someone/cnle"
RELEASE = Release(PAGE, f"{PAGE}/resolve/v1.0.0/", "1.0.0", "2026-11-23")
needs_mlcroissant = pytest.mark.skipif(
    importlib.util.find_spec("mlcroissant") is None, reason="mlcroissant is not installed: pip install mlcroissant"
)
# Loads a description by its address; the records without the prefixes of their field's ids, its texts as text.
READER = """
import json, sys
import mlcroissant
def plain(value):
    if isinstance(value, dict):
        return {key.split("/")[-1]: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.decode() if isinstance(value, bytes) else value
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = dataset.metadata.ctx.issues
found = {split: [plain(record) for record in dataset.records(split)] for split in sys.argv[2:]}
print(json.dumps({"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "records": found}))
"""


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


def rows_of(folder, benchmark):
    return {split: read_parquet(parquet_path(folder, split), benchmark) for split in SPLITS}


def described(folder, benchmark, release=None):
    return croissant(folder, benchmark, rows_of(folder, benchmark), release)


def written(folder, benchmark, release=None):
    return write_croissant(folder, benchmark, rows_of(folder, benchmark), release)


def read_with_mlcroissant(place, cache, splits=SPLITS):
    """What mlcroissant says about a description, and the records that it finds."""
    command = [sys.executable, "-c", READER, str(place), *splits]
    environment = {**os.environ, "CROISSANT_CACHE": str(cache), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folders(cnle_folder, csne_folder):
    return {"cnle": cnle_folder, "csne": csne_folder}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_files_are_described_as_they_are(name, folders):
    for split, file in zip(SPLITS, described(folders[name], BENCHMARKS[name])["distribution"], strict=True):
        content = (folders[name] / file["contentUrl"]).read_bytes()
        assert content == parquet_path(folders[name], split).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["contentSize"] == f"{len(content)} B"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_fields_are_the_columns_of_the_schema_in_order(name, folders):
    schema = arrow_schema(BENCHMARKS[name])
    for record_set in described(folders[name], BENCHMARKS[name])["recordSet"]:
        assert [field["name"] for field in record_set["field"]] == schema.names
        for field in record_set["field"]:
            kind = schema.field(field["name"]).type
            assert field.get("repeated", False) == str(kind).startswith("list")
            nested = getattr(kind, "value_type", kind)
            inner = [each.name for each in nested] if "struct" in str(nested) else []
            assert [each["name"] for each in field.get("subField", [])] == inner


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_column_and_no_other_has_a_description(name):
    paths = []
    for field in arrow_schema(BENCHMARKS[name]):
        nested = getattr(field.type, "value_type", field.type)
        inner = [each.name for each in nested] if "struct" in str(nested) else []
        paths += [field.name, *(f"{field.name}.{each}" for each in inner)]
    assert sorted(COLUMNS[name]) == sorted(paths)


def test_licences_are_those_of_the_cases(tmp_path, cnle_splits):
    for place, licence in enumerate(("PSF-2.0", "LicenseRef-unknown", "MIT OR Apache-2.0")):
        case = cnle_splits["train"][place]
        cnle_splits["train"][place] = replace(case, provenance=Provenance("s", "", f"g{place}", licence))
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    assert described(tmp_path / "d", CNLE)["license"] == [
        "https://spdx.org/licenses/CC-BY-SA-4.0.html",
        "LicenseRef-unknown",
        "MIT OR Apache-2.0",
        "https://spdx.org/licenses/PSF-2.0.html",
    ]


def test_a_release_says_where_and_when(cnle_folder):
    plain, released = described(cnle_folder, CNLE), described(cnle_folder, CNLE, RELEASE)
    assert (released.pop("version"), released.pop("datePublished")) == ("1.0.0", "2026-11-23")
    for before, after in zip(plain["distribution"], released["distribution"], strict=True):
        assert after.pop("contentUrl") == RELEASE.base_url + before.pop("contentUrl")
    assert released.pop("url") == RELEASE.url
    assert released == {name: value for name, value in plain.items() if name != "url"}
    assert "version" not in described(cnle_folder, CNLE, replace(RELEASE, version=""))


def test_the_release_is_read_from_the_description(cnle_folder):
    assert release_of(written(cnle_folder, CNLE, RELEASE).read_bytes()) == RELEASE
    assert release_of(written(cnle_folder, CNLE).read_bytes()) is None


def test_the_same_dataset_gives_the_same_bytes_and_leaves_nothing_beside(cnle_folder):
    first = written(cnle_folder, CNLE).read_bytes()
    assert written(cnle_folder, CNLE).read_bytes() == first
    assert json.loads(first) == described(cnle_folder, CNLE)
    assert sorted(path.name for path in cnle_folder.iterdir()) == [
        "README.md",
        "croissant.json",
        "data",
        "manifest.json",
    ]


def test_a_split_without_its_file(cnle_folder):
    rows, before = rows_of(cnle_folder, CNLE), (cnle_folder / "croissant.json").read_bytes()
    parquet_path(cnle_folder, "test").unlink()
    with pytest.raises(DatasetError, match=r"has 0 parquet files of its test split, expected one\. Build"):
        write_croissant(cnle_folder, CNLE, rows)
    assert (cnle_folder / "croissant.json").read_bytes() == before


@needs_mlcroissant
@pytest.mark.parametrize("name", BENCHMARKS)
def test_mlcroissant_reads_every_case(name, folders, tmp_path):
    folder = folders[name]
    found = read_with_mlcroissant(written(folder, BENCHMARKS[name]), tmp_path / "cache")
    assert found["records"] == rows_of(folder, BENCHMARKS[name])
    assert found["errors"] == []
    assert [each.split('"')[1].split("/")[-1] for each in found["warnings"]] == ["datePublished", "version"]


@needs_mlcroissant
def test_mlcroissant_reads_a_case_without_neighbours(cnle_splits, tmp_path):
    cnle_splits["test"][1] = replace(cnle_splits["test"][1], neighborhood=())
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    found = read_with_mlcroissant(written(tmp_path / "d", CNLE), tmp_path / "cache", ["test"])
    assert found["records"]["test"] == rows_of(tmp_path / "d", CNLE)["test"]


@needs_mlcroissant
def test_mlcroissant_finds_nothing_wrong_with_a_release_and_reads_it_from_its_address(cnle_folder, tmp_path):
    handler = functools.partial(SilentHandler, directory=str(cnle_folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base_url = f"http://127.0.0.1:{server.server_port}/"
            written(cnle_folder, CNLE, replace(RELEASE, base_url=base_url))
            found = read_with_mlcroissant(f"{base_url}croissant.json", tmp_path / "cache")
        finally:
            server.shutdown()
            thread.join()
    assert (found["errors"], found["warnings"]) == ([], [])
    assert found["records"] == rows_of(cnle_folder, CNLE)
