"""Downloads from a real server on loopback, with the faults that servers have."""

import hashlib
import os
import socket
import threading

import pytest

from clmeeval_data.builders.sources.download import download, hash_of, public
from clmeeval_data.errors import SourceError

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def get(server, tmp_path):
    """Download the server's file; gives the path."""
    server.content = CONTENT

    def call(sha256=None, name="corpus.gz"):
        download(f"{server.url}/{name}", tmp_path / "cache" / name, sha256, pause=0)
        return tmp_path / "cache" / name

    return call


def left_over(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("sha256", [None, SHA256], ids=["unchecked", "checked"])
def test_a_file_arrives_whole_and_nothing_else_stays(get, server, tmp_path, sha256):
    assert get(sha256).read_bytes() == CONTENT
    assert left_over(tmp_path) == ["corpus.gz"]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert get(sha256).read_bytes() == CONTENT
    assert len(server.requests) == 1  # it was there


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(get, server, status):
    server.answer(status, status)
    assert get().read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "times", "message"),
    [
        (404, 1, r"/corpus.gz answered 404 Not Found. Check the address, or give the path of a copy"),
        (403, 1, r"answered 403 Forbidden. Check the address"),
        (500, 5, r"answered 500 Internal Server Error. Try again later: it was asked 5 times"),
    ],
)
def test_a_refusal_is_one_line(get, server, tmp_path, status, times, message):
    server.answer(*[status] * 9)
    with pytest.raises(SourceError, match=message):
        get()
    assert len(server.requests) == times
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("validators", [{"tag": '"v1"'}, {"tag": None, "changed": "Mon, 01 Jan 2018 00:00:00 GMT"}])
def test_a_file_that_breaks_off_goes_on_where_it_did(get, server, validators):
    vars(server).update(validators)
    server.cut(1000, 200_000)
    assert get(SHA256).read_bytes() == CONTENT
    assert server.asked() == [None, "bytes=1000-", "bytes=200000-"]


def test_a_file_goes_on_after_the_process_ended(get, server, tmp_path):
    server.cut(*[100_000] * 9)
    with pytest.raises(
        SourceError, match=r"broke off after 100000 bytes, 5 times without a byte more .* continues from"
    ):
        get(SHA256)
    assert left_over(tmp_path) == ["corpus.gz.part", "corpus.gz.part.json"]
    server.faults.clear()
    server.requests.clear()
    assert get(SHA256).read_bytes() == CONTENT
    assert server.asked() == ["bytes=100000-"]


def test_a_part_that_is_whole_is_not_asked_for(get, server, tmp_path):
    server.cut(*[100_000] * 9)
    with pytest.raises(SourceError):
        get()
    (tmp_path / "cache" / "corpus.gz.part").write_bytes(CONTENT)
    server.requests.clear()
    assert get(SHA256).read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"ranges": False}, [None, "bytes=1000-"]),
        ({"tag": None}, [None, None]),  # nothing proves that the rest is of the same file
        ({"tag": 'W/"weak"'}, [None, None]),
    ],
)
def test_a_server_that_cannot_go_on_sends_all_of_it(get, server, change, asked):
    vars(server).update(change)
    server.cut(1000)
    assert get(SHA256).read_bytes() == CONTENT
    assert server.asked() == asked


@pytest.mark.parametrize(
    ("sent", "promised", "asked"),
    [
        ((0, 500), (0, 299_999), [None, "bytes=1000-", None]),  # not what was asked for: begins anew
        ((1000, 1500), (1000, 299_998), [None, "bytes=1000-", None]),
        ((1000, 1500), (1000, 299_999), [None, "bytes=1000-", "bytes=1500-"]),  # less than was asked for
    ],
)
def test_a_part_that_is_not_the_rest_is_not_taken_for_it(get, server, sent, promised, asked):
    server.cut(1000)
    server.part(sent, promised)
    assert get(SHA256).read_bytes() == CONTENT
    assert server.asked() == asked


def test_a_file_that_changed_meanwhile_begins_anew(get, server, tmp_path):
    server.cut(*[100_000] * 9)
    with pytest.raises(SourceError):
        get()
    server.faults.clear()
    server.content, server.tag = CONTENT[::-1], '"v2"'
    assert get().read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_begins_anew(get, server, tmp_path):
    server.cut(*[100_000] * 9)
    with pytest.raises(SourceError):
        get()
    server.faults.clear()
    (tmp_path / "cache" / "corpus.gz.part").write_bytes(CONTENT + b"more")
    assert get(SHA256).read_bytes() == CONTENT


def test_a_length_that_is_never_reached_is_an_error(get, server, tmp_path):
    server.claimed, server.tag = len(CONTENT) + 10, None
    with pytest.raises(SourceError, match="broke off after 300000 bytes, 5 times"):
        get()
    assert "corpus.gz" not in left_over(tmp_path)


def test_a_wrong_checksum_keeps_nothing(get, tmp_path):
    with pytest.raises(SourceError, match=rf"has sha256 {SHA256}, expected {'0' * 64}. It was not kept"):
        get("0" * 64)
    assert left_over(tmp_path) == []


def test_nobody_at_the_address_is_an_error(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SourceError, match=r"127.0.0.1:\d+/x cannot be reached \(.*refused\). Check the address"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "x", pause=0)


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"cannot write .*file/x .*choose another --cache"):
        download(f"{server.url}/x", tmp_path / "file" / "x")


def test_a_full_disk_is_an_error(get, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clmeeval_data.builders.sources.download._remember", full)
    with pytest.raises(SourceError, match="No space left on device"):
        get()


def test_two_at_once_download_it_once(get, server):
    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get().read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_password_stays_out_of_messages_and_manifests():
    assert public("https://me:secret@host:8080/a?b=c") == "https://host:8080/a?b=c"
    assert public("http://host/a") == "http://host/a"


def test_the_hash_of_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        hash_of(tmp_path / "none")
