"""One option for every place where a corpus can be."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from clmeeval_data.builders.sources import SourceOptions, open_source, read
from clmeeval_data.builders.sources.location import Location, cache_folder, chosen
from clmeeval_data.errors import ConfigError, SourceError

ROWS = [{"idx": number, "title": f"title {number}", "snippet": f"f({number})"} for number in range(5)]
SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", Location("hub", "owner/name")),
        ("owner/name@v1.0", Location("hub", "owner/name", "v1.0")),
        ("owner/name@refs/convert/parquet", Location("hub", "owner/name", "refs/convert/parquet")),
        ("https://huggingface.co/datasets/owner/name", Location("hub", "owner/name")),
        ("https://huggingface.co/datasets/owner/name/tree/v1", Location("hub", "owner/name", "v1")),
        ("https://host/a.zip", Location("url", "https://host/a.zip")),
        (
            f"http://host:80/a.zip?x=1#sha256={SHA256.upper()}",
            Location("url", "http://host:80/a.zip?x=1", sha256=SHA256),
        ),
        (
            "https://huggingface.co/datasets/owner/name/resolve/main/a.jsonl",
            Location("url", "https://huggingface.co/datasets/owner/name/resolve/main/a.jsonl"),
        ),
        ("file.jsonl", Location("path", "file.jsonl")),
        ("folder/below", Location("path", "folder/below")),
    ],
)
def test_a_location_is_told_by_its_form(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    Path("folder/below").mkdir(parents=True)  # a path that exists comes before a Hub id
    Path("file.jsonl").touch()
    assert Location.parse(text) == expected


def test_a_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "corpus.jsonl").touch()
    assert Location.parse("~/corpus.jsonl") == Location("path", str(tmp_path / "corpus.jsonl"))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("corpus", SourceError, "no file or folder corpus. Expected a path, a URL, or a Hub id"),
        ("data/corpus.jsonl.gz", SourceError, "no file or folder data/corpus.jsonl.gz"),
        ("a/b/c", SourceError, "no file or folder a/b/c"),
        ("x" * 5000, SourceError, "no file or folder xxx"),
        ("a\0b", SourceError, "no file or folder"),
        ("https://host/a#sha256=12", ConfigError, "ends in 'sha256=12'. Expected #sha256= and 64"),
        ("https://host/a#top", ConfigError, "ends in 'top'"),
        ("https:///a", ConfigError, "names no server"),
    ],
)
def test_a_location_that_cannot_be_is_an_error(text, kind, message):
    with pytest.raises(kind, match=message):
        Location.parse(text)


def test_the_files_of_a_folder_are_chosen_by_name_and_none_of_a_set_may_be_missing():
    import re

    wanted = re.compile(r"\.parquet$")
    names = ["b.parquet", "a/c.parquet", "x.txt", ".cache/d.parquet", "a/.hidden/e.parquet"]
    assert chosen(names, wanted, "here") == ["a/c.parquet", "b.parquet"]
    shards = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"]
    assert chosen(shards, wanted, "here") == sorted(shards)
    with pytest.raises(SourceError, match=r"here has 1 of the 2 files train-\*. Get the missing ones."):
        chosen(shards[1:], wanted, "here")
    with pytest.raises(SourceError, match="here has no file that this source reads"):
        chosen(["x.txt"], wanted, "here")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "{home}/.cache/clmeeval"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/clmeeval"),
        ("darwin", {}, "{home}/Library/Caches/clmeeval"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/clmeeval"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/clmeeval/Cache"),
        ("win32", {}, "{home}/AppData/Local/clmeeval/Cache"),
    ],
)
def test_the_cache_is_where_the_system_has_its_caches(monkeypatch, tmp_path, platform, variables, expected):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected.format(home=tmp_path))


def opened(location, **options):
    return open_source(f"stackoverflow={location}", "cnle", SourceOptions(**options))


def titles(source):
    return [pair.prompt for pair in read(source)]


def test_a_file_may_have_any_name_and_is_known_by_its_name_alone(tmp_path, write):
    path = write(tmp_path / "deep" / "mine", ROWS)
    source = opened(path)
    assert titles(source) == [row["title"] for row in ROWS]
    (file,) = source.files()
    assert (file.address, file.revision, file.size) == ("mine", "", path.stat().st_size)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.licence == "CC-BY-SA-3.0"


def test_a_folder_gives_the_files_of_the_source(tmp_path, write):
    write(tmp_path / "stackoverflow_b.jsonl.gz", ROWS[:2])
    write(tmp_path / "below" / "stackoverflow_a.jsonl", ROWS[2:])
    write(tmp_path / "other.jsonl", ROWS)
    source = opened(tmp_path)
    assert titles(source) == [f"title {number}" for number in (2, 3, 4, 0, 1)]
    assert [file.address for file in source.files()] == ["below/stackoverflow_a.jsonl", "stackoverflow_b.jsonl.gz"]


def test_a_url_is_downloaded_once_into_the_cache(tmp_path, write, server):
    server.content = write(tmp_path / "x.jsonl.gz", ROWS).read_bytes()
    sha256 = hashlib.sha256(server.content).hexdigest()
    location = f"{server.url}/some/x.jsonl.gz#sha256={sha256}"
    for offline in (False, False, True):
        source = opened(location, cache=tmp_path / "cache", offline=offline)
        assert titles(source) == [row["title"] for row in ROWS]
    (file,) = source.files()
    assert (file.address, file.sha256) == (f"{server.url}/some/x.jsonl.gz", sha256)
    assert len(server.requests) == 1
    assert str(tmp_path) not in repr(file)
    with pytest.raises(SourceError, match=r"/other is not on this machine, and nothing is downloaded offline"):
        titles(opened(f"{server.url}/other", cache=tmp_path / "cache", offline=True))


def test_the_default_cache_is_used(tmp_path, monkeypatch, write, server):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    server.content = write(tmp_path / "x.jsonl", ROWS).read_bytes()
    assert len(titles(opened(f"{server.url}/x.jsonl"))) == 5
    assert [path.name for path in (tmp_path / "xdg").rglob("*.jsonl")] == ["x.jsonl"]


def test_what_was_downloaded_must_stay_what_was_promised(tmp_path, write, server):
    server.content = write(tmp_path / "x.jsonl", ROWS).read_bytes()
    sha256 = hashlib.sha256(server.content).hexdigest()
    opened(f"{server.url}/x.jsonl#sha256={sha256}", cache=tmp_path / "cache").files()
    (kept,) = (tmp_path / "cache").rglob("*.jsonl")
    kept.write_bytes(kept.read_bytes().replace(b"title", b"tilte"))
    changed = opened(f"{server.url}/x.jsonl#sha256={sha256}", cache=tmp_path / "cache")
    for use in (changed.files, lambda: titles(changed)):
        with pytest.raises(SourceError, match=rf"expected {sha256} for .*Delete it and run again"):
            use()


def test_names_from_addresses_cannot_leave_the_cache(tmp_path, write, server):
    server.content = write(tmp_path / "x.jsonl", ROWS).read_bytes()
    for name in ("/..%2f..%2fevil", "/", "/%2e%2e", "/a?b=/../c", "/" + "x" * 300):
        assert len(titles(opened(f"{server.url}{name}", cache=tmp_path / "cache"))) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"x.jsonl", "cache"}


def test_an_empty_corpus_is_an_error(tmp_path, write):
    path = write(tmp_path / "x.jsonl", [])
    with pytest.raises(SourceError, match=r"source 'stackoverflow' has no row in x.jsonl. Check that"):
        titles(opened(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path, write):
    path = write(tmp_path / "x.jsonl", ROWS)
    path.chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        titles(opened(path))
