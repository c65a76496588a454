"""Publishing results while the Hub and the network fail: one line, whole states only, the same command finishes."""

import io

import pyarrow.parquet as pq
import pytest

from clmeeval_data.errors import PublishError
from clmeeval_data.evaluation.publishing.publish import Destination, publish_results
from clmeeval_data.evaluation.report.runs import load_runs
from tests.clmeeval_data.hub.loopback.breaking_points import BROKEN, INVALID, PUT, faults_of, has_landed, points_of

# huggingface_hub hands files to its HTTP library in a way that this one has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO, SPACE = "clmeeval/results", "clmeeval/leaderboard"
IN_SPACE = f"spaces/{SPACE}"
TABLE = "data/runs-00000-of-00001.parquet"


@pytest.fixture
def put(hub, writer):
    """Publish a result folder on the running Hub; a failure is one line that does not show the token."""

    def put(folder, repo=REPO, space=None, token=writer, **options):
        try:
            to = Destination(repo, space, endpoint=hub.url, token=token, **options)
            return publish_results([folder], to)
        except PublishError as error:
            assert writer not in str(error) and "\n" not in str(error)
            raise

    return put


@pytest.fixture(autouse=True)
def quick_page(monkeypatch):
    """A page without pictures: what is on it is tested elsewhere."""

    def write(folders, out):
        methods = sorted(run.method for run in load_runs(folders))
        for name in ("index.html", "leaderboard.md", "leaderboard.csv"):
            (out / name).write_text("\n".join(methods))

    monkeypatch.setattr("clmeeval_data.evaluation.publishing.space.write_leaderboard", write)


def methods_at(commit):
    """The methods whose runs a commit of the dataset has; its table has the same runs, each whole."""
    runs = {path.rpartition("/")[0] for path in commit.files if path.startswith("results/")}
    rows = pq.read_table(io.BytesIO(commit.files[TABLE])).to_pylist()
    assert {row["path"] for row in rows} == runs and all(row["complete"] for row in rows)
    assert {path.rpartition("/")[2] for path in commit.files if path.startswith("results/")} == {
        "run.json",
        "records.jsonl",
        "summary.json",
    }
    assert f"\n{len(rows)} run" in commit.files["README.md"].decode()
    return sorted(row["method"] for row in rows)


def check_every_state(hub):
    """Each commit that a reader could ever have seen is whole."""
    assert all(methods_at(commit) for commit in hub.repos[REPO].commits[1:])
    for commit in hub.repos[IN_SPACE].commits[1:] if IN_SPACE in hub.repos else ():
        assert set(commit.files) == {".gitattributes", "README.md", "index.html", "leaderboard.md", "leaderboard.csv"}


@pytest.mark.parametrize(
    ("where", "fault", "line"),
    faults_of("datasets", REPO, "README.md", "v1.1.0"),
    ids=lambda value: str(value)[:60],
)
def test_the_same_command_finishes_the_dataset(put, hub, results, write_run, where, fault, line):
    write_run("none", range(2))
    put(results, tag="v1.0.0")
    write_run("grace", range(2))
    hub.fail(where, **fault)
    with pytest.raises(PublishError, match=f"^{REPO} {line}"):
        put(results, tag="v1.1.0")
    hub.faults.clear()
    assert where in hub.hit
    repo, landed = hub.repos[REPO], has_landed(where, fault)
    assert methods_at(repo.head) == (["grace", "none"] if landed else ["none"])
    (done,) = put(results, tag="v1.1.0")
    assert done.committed is not landed
    assert methods_at(repo.head) == methods_at(repo.at("v1.1.0")) == ["grace", "none"]
    assert methods_at(repo.at("v1.0.0")) == ["none"]
    assert len(repo.commits) == 3
    check_every_state(hub)


@pytest.mark.parametrize(
    ("where", "fault", "line"),
    faults_of("spaces", SPACE, "README.md", "v1.1.0"),
    ids=lambda value: str(value)[:60],
)
def test_the_same_command_finishes_the_space(put, hub, results, write_run, where, fault, line):
    write_run("none", range(2))
    put(results, space=SPACE, tag="v1.0.0")
    write_run("grace", range(2))
    if where.startswith("POST /api/validate"):  # the first one is about the dataset
        hub.fail(points_of("datasets", REPO, "").tag, act=lambda: hub.fail(where, **fault))
    else:
        hub.fail(where, **fault)
    with pytest.raises(PublishError, match=f"^the Space {SPACE} {line}"):
        put(results, space=SPACE, tag="v1.1.0")
    hub.faults.clear()
    assert where in hub.hit
    landed = has_landed(where, fault)
    assert ("grace" in hub.repos[IN_SPACE].head.files["leaderboard.csv"].decode()) is landed
    outcomes = put(results, space=SPACE, tag="v1.1.0")
    assert outcomes[1].committed is not landed
    for name in (REPO, IN_SPACE):
        assert len(hub.repos[name].commits) == 3
        assert hub.repos[name].tags["v1.1.0"] == hub.repos[name].head.oid
    assert "grace" in hub.repos[IN_SPACE].head.files["leaderboard.csv"].decode()
    check_every_state(hub)


@pytest.mark.parametrize(
    "fault", [{"status": 500, "times": 99}, {"cut": "reply", "times": 99}, {"cut": "half", "times": 99}]
)
def test_runs_on_the_hub_that_cannot_be_read_are_not_forgotten(put, hub, results, write_run, tmp_path, fault):
    write_run("none", range(2))
    put(results)
    write_run("grace", range(2), under=tmp_path / "other")
    hub.fail("GET /datasets/.*/summary.json", **fault)
    with pytest.raises(PublishError, match=rf"^{REPO} cannot be read on the Hub: .*Nothing was read"):
        put(tmp_path / "other")
    hub.faults.clear()
    assert methods_at(hub.repos[REPO].head) == ["none"]
    put(tmp_path / "other")
    assert methods_at(hub.repos[REPO].head) == ["grace", "none"]
    check_every_state(hub)


@pytest.mark.parametrize("kind", ["dataset", "space"])
@pytest.mark.parametrize(("fault", "is_made"), [({"status": 500}, False), ({"cut": "reply"}, True)])
def test_a_fault_while_a_repository_is_made(put, hub, results, write_run, kind, fault, is_made):
    write_run("none", range(2))
    name = REPO if kind == "dataset" else IN_SPACE
    create = "POST /api/repos/create"
    if kind == "dataset":
        hub.fail(create, **fault)
    else:
        hub.fail(create, act=lambda: hub.fail(create, **fault))
    with pytest.raises(
        PublishError, match=r"cannot be created on the Hub: .* At most an empty repository was made: run"
    ):
        put(results, space=SPACE)
    assert (name in hub.repos) is is_made
    put(results, space=SPACE)
    assert [len(hub.repos[each].commits) for each in (REPO, IN_SPACE)] == [2, 2]
    check_every_state(hub)


def test_a_first_upload_that_is_cut_leaves_an_empty_repository(put, hub, results, write_run):
    write_run("none", range(2))
    hub.fail(PUT, cut="request", times=99)
    with pytest.raises(PublishError, match=BROKEN):
        put(results, space=SPACE, tag="v1")
    hub.faults.clear()
    assert sorted(hub.repos[REPO].head.files) == [".gitattributes"] and list(hub.repos) == [REPO]
    assert [outcome.tagged for outcome in put(results, space=SPACE, tag="v1")] == ["v1", "v1"]
    check_every_state(hub)


def test_somebody_else_publishes_meanwhile(put, hub, results, write_run, tmp_path):
    write_run("none", range(2))
    put(results)
    write_run("grace", range(2), under=tmp_path / "mine")
    write_run("rome", range(2), under=tmp_path / "theirs")
    hub.fail(points_of("datasets", REPO, "").preupload, act=lambda: put(tmp_path / "theirs"))
    with pytest.raises(
        PublishError, match=r"somebody else has changed it meanwhile\. .*, then run the same command again"
    ):
        put(tmp_path / "mine")
    assert methods_at(hub.repos[REPO].head) == ["none", "rome"]
    put(tmp_path / "mine")
    assert methods_at(hub.repos[REPO].head) == ["grace", "none", "rome"]
    check_every_state(hub)


# what is refused before anything is changed


def refused(put, hub, folder, match, **options):
    before = {name: len(repo.commits) for name, repo in hub.repos.items()}
    with pytest.raises(PublishError, match=match):
        put(folder, **options)
    assert {name: len(repo.commits) for name, repo in hub.repos.items()} == before


def test_no_token(put, hub, results, write_run):
    write_run("none", range(2))
    match = r"^no token to publish clmeeval/results with\. Log in with 'hf auth login'"
    refused(put, hub, results, match, token=None)


def test_a_token_without_write_access(put, hub, results, write_run, reader):
    write_run("none", range(2))
    match = rf"^{REPO} cannot be created on the Hub: this token may not do that.*\(403: You don't have the rights"
    refused(put, hub, results, match, token=reader)
    refused(put, hub, results, f"^the Space {SPACE} cannot be created on", token=reader, repo=None, space=SPACE)
    refused(put, hub, results, rf"^{REPO} cannot be read on the Hub: {INVALID}", token="hf_unknownunknown")


@pytest.mark.parametrize("name", ["results", "a/b/c", "clmeeval/", "clmeeval/re sults", "a/b..c", "a/b.git"])
def test_a_malformed_name(put, hub, results, write_run, name):
    write_run("none", range(2))
    for options in ({"repo": name}, {"space": name}):
        refused(put, hub, results, "is not a name on the Hub. Expected owner/name", **options)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"manifest.json": b"{}", "README.md": b"---\na: b\n---\n"}, "manifest.json"),
        ({"README.md": b"---\ntags:\n- mine\n---\n- clmeeval-results\n"}, "README.md"),
        ({"weights.bin": b"x"}, "weights.bin"),
        ({"results/a/b/c/run.json": b"{}"}, "results/a/b/c/run.json"),
    ],
)
def test_a_dataset_of_something_else(put, hub, results, write_run, files, found):
    write_run("none", range(2))
    hub.create(REPO, files)
    refused(put, hub, results, rf"^{REPO} holds something else than results of ours \({found}\); it was left as it is")


def test_a_space_of_something_else_stops_the_dataset_too(put, hub, results, write_run):
    write_run("none", range(2))
    hub.create(IN_SPACE, {"index.html": b"<h1>My own page</h1>"})
    match = rf"^the Space {SPACE} holds something else than a leaderboard of ours \(index\.html\); it was left as it is"
    refused(put, hub, results, match, space=SPACE)
    assert REPO not in hub.repos


def test_a_name_that_is_taken_by_what_this_token_cannot_see(put, hub, results, write_run):
    write_run("none", range(2))
    hub.create(IN_SPACE, {"secret.txt": b"x"})
    hub.fail(points_of("spaces", SPACE, "").info, status=404, code="RepoNotFound", message="Repository not found")
    match = rf"^the Space {SPACE} cannot be created on the Hub: the name is taken.* Nothing was changed in the Space\."
    refused(put, hub, results, match, repo=None, space=SPACE)
