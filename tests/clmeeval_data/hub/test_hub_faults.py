"""Publishing while the Hub and the network fail: one line, readers see whole releases, the same command finishes."""

import socket

import pytest
from huggingface_hub import snapshot_download

from clmeeval_data.errors import PublishError
from clmeeval_data.hub import load_cnle, publish
from clmeeval_data.records import CNLE
from clmeeval_data.storage import write_dataset
from clmeeval_data.validate import check_dataset
from tests.clmeeval_data.hub.loopback.breaking_points import (
    AS_IT_WAS,
    BATCH,
    BROKEN,
    FAILED,
    INVALID,
    PUT,
    VERIFY,
    faults_of,
    has_landed,
    points_of,
)

# huggingface_hub hands files to its HTTP library in a way that this one has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "clmeeval/cnle"
AT = points_of("datasets", REPO, "manifest.json")
INFO, PREUPLOAD, COMMIT, TAG = AT.info, AT.preupload, AT.commit, AT.tag
UNCHANGED = AS_IT_WAS["datasets"]


@pytest.fixture
def new_folder(tmp_path, cnle_splits):
    """The next release of the dataset in cnle_folder: two splits are shorter."""
    folder = tmp_path / "new" / "cnle"
    write_dataset(
        folder, CNLE, {split: cases[:2] if split != "train" else cases for split, cases in cnle_splits.items()}, {}
    )
    return folder


@pytest.fixture
def put(hub, writer):
    """Publish a folder on the running Hub; a failure is one line that does not show the token."""

    def put(folder, **options):
        try:
            return publish(folder, REPO, endpoint=hub.url, token=writer, **options)
        except PublishError as error:
            assert writer not in str(error) and "\n" not in str(error)
            raise

    return put


def check_every_state(hub, tmp_path):
    """Each commit that a reader could ever have seen holds a whole dataset."""
    for commit in hub.repos[REPO].commits[1:]:
        folder = tmp_path / "states" / commit.oid
        for path, body in commit.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(body)
        assert check_dataset(folder) == []


def read(hub, tmp_path, revision="main"):
    """The cases of the test split, as somebody reads them who downloads the repository now."""
    folder = tmp_path / "reader" / f"{len(hub.asked)}"
    snapshot_download(REPO, repo_type="dataset", revision=revision, local_dir=folder, endpoint=hub.url)
    assert check_dataset(folder) == []
    return load_cnle(str(folder))


@pytest.mark.parametrize(
    ("where", "fault", "line"),
    faults_of("datasets", REPO, "manifest.json", "v1.1.0"),
    ids=lambda value: str(value)[:60],
)
def test_the_same_command_finishes_after_a_fault(
    put, hub, tmp_path, cnle_folder, new_folder, cnle_splits, where, fault, line
):
    old, new = cnle_splits["test"], cnle_splits["test"][:2]
    put(cnle_folder, tag="v1.0.0")
    hub.fail(where, **fault)
    with pytest.raises(PublishError, match=f"^{REPO} {line}"):
        put(new_folder, tag="v1.1.0")
    hub.faults.clear()
    assert where in hub.hit
    landed = has_landed(where, fault)
    assert read(hub, tmp_path) == (new if landed else old)
    done = put(new_folder, tag="v1.1.0")
    assert done.committed is not landed
    assert read(hub, tmp_path) == read(hub, tmp_path, "v1.1.0") == new
    assert read(hub, tmp_path, "v1.0.0") == old
    assert len(hub.repos[REPO].commits) == 3
    check_every_state(hub, tmp_path)


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (PREUPLOAD, {"status": 429}),
        (BATCH, {"status": 503}),
        (PUT, {"cut": "request", "times": 2}),
        (PUT, {"status": 500}),
        (VERIFY, {"status": 500}),
    ],
)
def test_what_fails_once_is_tried_again(put, hub, tmp_path, cnle_folder, where, fault):
    hub.fail(where, **fault)
    assert put(cnle_folder).committed
    assert hub.hit == [where] * fault.get("times", 1)
    check_every_state(hub, tmp_path)


@pytest.mark.parametrize(
    ("fault", "line", "is_made"),
    [
        (
            {"status": 500},
            rf"{FAILED}\. At most an empty repository was made: run the same command again later\.",
            False,
        ),
        ({"status": 401}, rf"{INVALID}.*\)\. {UNCHANGED}\.", False),
        ({"cut": "reply"}, rf"{BROKEN}.*\)\. At most an empty repository was made: run the same command again\.", True),
    ],
)
def test_a_fault_while_the_repository_is_made(put, hub, cnle_folder, fault, line, is_made):
    hub.fail("POST /api/repos/create", **fault)
    with pytest.raises(PublishError, match=f"^{REPO} cannot be created on the Hub: {line}"):
        put(cnle_folder, private=True)
    assert (REPO in hub.repos) is is_made
    assert put(cnle_folder, private=True).committed
    assert hub.repos[REPO].private and len(hub.repos[REPO].commits) == 2


def test_a_first_release_that_breaks_off_leaves_an_empty_repository(put, hub, tmp_path, cnle_folder):
    hub.fail(PUT, cut="request", times=99)
    with pytest.raises(PublishError, match=BROKEN):
        put(cnle_folder, tag="v1.0.0")
    hub.faults.clear()
    assert sorted(hub.repos[REPO].head.files) == [".gitattributes"] and hub.repos[REPO].tags == {}
    assert put(cnle_folder, tag="v1.0.0").tagged == "v1.0.0"
    check_every_state(hub, tmp_path)


def test_large_files_that_arrived_are_not_sent_again(put, hub, cnle_folder):
    hub.fail(COMMIT, status=500)
    with pytest.raises(PublishError):
        put(cnle_folder)
    sent = len([line for line in hub.asked if line.startswith("PUT")])
    put(cnle_folder)
    assert len([line for line in hub.asked if line.startswith("PUT")]) == sent == 3


def test_somebody_else_commits_meanwhile(put, hub, tmp_path, cnle_folder, new_folder):
    put(cnle_folder)
    repo = hub.repos[REPO]
    hub.fail(COMMIT, act=lambda: repo.commit("theirs", {**repo.head.files, "notes.txt": b"theirs"}))
    line = (
        rf"^{REPO} cannot be published: somebody else has changed it meanwhile\. See what they did with --dry-run, then"
    )
    with pytest.raises(PublishError, match=line + r" run the same command again \(412: A commit has happened since"):
        put(new_folder)
    assert [commit.title for commit in repo.commits[2:]] == ["theirs"]
    put(new_folder)
    assert repo.head.files["notes.txt"] == b"theirs"
    check_every_state(hub, tmp_path)


def test_somebody_else_makes_the_tag_meanwhile(put, hub, cnle_folder):
    hub.fail(TAG, act=lambda: hub.repos[REPO].tags.update({"v1.0.0": hub.repos[REPO].commits[0].oid}))
    with pytest.raises(PublishError, match=r"cannot be tagged v1\.0\.0: .* \(409: Tag reference exists already"):
        put(cnle_folder, tag="v1.0.0")
    with pytest.raises(PublishError, match=r"the tag v1\.0\.0 of clmeeval/cnle points to commit"):
        put(cnle_folder, tag="v1.0.0")


def test_a_token_that_the_server_repeats_is_not_shown(put, hub, cnle_folder, writer):
    hub.fail(INFO, status=403, message=f"token {writer} is not for you")
    with pytest.raises(PublishError, match=r"\(403: token \*\*\* is not for you\)") as caught:
        put(cnle_folder)
    assert caught.value.__cause__ is None


def test_no_server_at_all(put, hub, cnle_folder, writer):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(PublishError, match=rf"cannot be read on the Hub: {BROKEN}.*refused\)\. {UNCHANGED}"):
            publish(cnle_folder, REPO, endpoint=nobody, token=writer)


def test_offline(put, hub, cnle_folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match=r"cannot be read on the Hub: HF_HUB_OFFLINE is set\. Unset it, then run"):
        put(cnle_folder)
    assert hub.asked == []
