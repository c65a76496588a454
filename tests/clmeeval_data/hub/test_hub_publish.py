"""Publishing, against a Hub on loopback: what is uploaded, what stays as it is, and what is refused."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from huggingface_hub import DatasetCard, snapshot_download

from clmeeval_data.builders.publish_command import add_to
from clmeeval_data.errors import PublishError
from clmeeval_data.hub import load_cnle, plan_release, publish
from clmeeval_data.records import CNLE, CSNE, SPLITS
from clmeeval_data.shell import run_app
from clmeeval_data.storage import write_dataset
from clmeeval_data.validate import check_dataset

# huggingface_hub hands files to its HTTP library in a way that this one has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "clmeeval/cnle"
DATA = [f"data/{split}-00000-of-00001.parquet" for split in SPLITS]
RELEASE = sorted(["LICENCES.md", "README.md", "croissant.json", "manifest.json", *DATA])


@pytest.fixture
def put(hub, writer):
    """Publish a folder on the running Hub with a token that may."""

    def put(folder, repo=REPO, **options):
        return publish(folder, repo, endpoint=hub.url, **{"token": writer, **options})

    return put


@pytest.fixture
def sample_folder(tmp_path, cnle_records):
    """A smaller dataset of the same benchmark."""
    folder = tmp_path / "small" / "cnle"
    write_dataset(folder, CNLE, dict(zip(SPLITS, ([record] for record in cnle_records), strict=False)), {})
    return folder


def held(hub, repo=REPO):
    """What the newest commit of a repository holds, without what the Hub puts there."""
    return {path: body for path, body in hub.repos[repo].head.files.items() if path != ".gitattributes"}


def test_a_dataset_is_published_in_one_commit_and_tagged(put, hub, cnle_folder):
    (cnle_folder / "dropped.jsonl.gz").write_bytes(b"x")
    outcome = put(cnle_folder, tag="v1.0.0")
    repo = hub.repos[REPO]
    assert [commit.title for commit in repo.commits] == ["initial commit", "CNLE, schema 1.0: v1.0.0"]
    assert repo.tags == {"v1.0.0": repo.head.oid}
    assert sorted(held(hub)) == RELEASE
    for name in ("README.md", "manifest.json", *DATA):
        assert held(hub)[name] == (cnle_folder / name).read_bytes()
    assert (outcome.commit, outcome.committed, outcome.tagged) == (repo.head.oid, True, "v1.0.0")
    assert str(outcome) == f"{REPO}: published in commit {repo.head.oid}, tagged v1.0.0"
    assert not repo.private


def test_the_licences_are_listed_with_their_sources(put, hub, cnle_folder):
    put(cnle_folder)
    lines = held(hub)["LICENCES.md"].decode().splitlines()
    assert lines[-1] == "| [CC-BY-SA-4.0](https://spdx.org/licenses/CC-BY-SA-4.0.html) | sample | 9 |"
    assert len([line for line in lines if line.startswith("| [")]) == 1


def test_the_same_bytes_again_change_nothing(put, hub, cnle_folder):
    first = put(cnle_folder)
    hub.asked.clear()
    again = put(cnle_folder)
    assert (again.commit, again.committed, again.tagged) == (first.commit, False, None)
    assert str(again) == f"{REPO}: unchanged, at commit {first.commit}"
    assert not [line for line in hub.asked if not line.startswith(("GET", "HEAD"))]
    tagged = put(cnle_folder, tag="v1.0.0")  # which croissant.json names
    assert (tagged.committed, tagged.tagged, hub.repos[REPO].tags) == (True, "v1.0.0", {"v1.0.0": tagged.commit})
    assert [change.path for change in tagged.plan.changes if change.kind == "change"] == ["croissant.json"]
    for tag in ("v1.0.0", None):
        assert (put(cnle_folder, tag=tag).committed, put(cnle_folder, tag=tag).tagged) == (False, None)
    assert len(hub.repos[REPO].commits) == 3


def test_without_a_description_a_tag_needs_no_commit(put, hub, cnle_folder):
    (cnle_folder / "croissant.json").unlink()
    first = put(cnle_folder)
    tagged = put(cnle_folder, tag="v1.0.0")
    assert (tagged.committed, tagged.tagged, hub.repos[REPO].tags) == (False, "v1.0.0", {"v1.0.0": first.commit})


def test_a_new_release_uploads_what_differs_and_removes_what_it_replaces(put, hub, cnle_folder, cnle_splits):
    put(cnle_folder, tag="v1.0.0")
    hub.repos[REPO].commit("by hand", {**hub.repos[REPO].head.files, "data/train-9.parquet": b"x", "notes.txt": b"y"})
    cnle_splits["test"] = cnle_splits["test"][:2]
    write_dataset(cnle_folder, CNLE, cnle_splits, {})
    hub.asked.clear()
    put(cnle_folder, tag="v1.1.0")
    assert sorted(held(hub)) == sorted([*RELEASE, "notes.txt"])
    assert held(hub)[DATA[2]] == (cnle_folder / DATA[2]).read_bytes()
    assert len([line for line in hub.asked if line.startswith("PUT")]) == 1
    assert list(hub.repos[REPO].tags) == ["v1.0.0", "v1.1.0"]
    assert len(hub.repos[REPO].at("v1.0.0").files) == len(RELEASE) + 1


def test_large_files_go_up_in_parts_where_the_hub_wants_them_to(put, hub, tmp_path, cnle_folder):
    hub.in_parts = True
    put(cnle_folder)
    assert all(held(hub)[name] == (cnle_folder / name).read_bytes() for name in DATA)


def test_a_description_for_other_tools_goes_along_and_away_again(put, hub, cnle_folder):
    put(cnle_folder)
    assert json.loads(held(hub)["croissant.json"])["name"] == "cnle"
    (cnle_folder / "croissant.json").unlink()
    put(cnle_folder)
    assert sorted(held(hub)) == [name for name in RELEASE if name != "croissant.json"]


def test_a_private_repository(put, hub, cnle_folder):
    put(cnle_folder, private=True)
    assert hub.repos[REPO].private
    assert not put(cnle_folder).committed
    hub.repos[REPO].private = False
    with pytest.raises(PublishError, match=r"clmeeval/cnle is public, and --private was asked for\. Make it private"):
        put(cnle_folder, private=True)


def test_a_sample_beside_the_benchmark(put, hub, cnle_folder, sample_folder, tmp_path, writer):
    put(cnle_folder)
    alone = held(hub)["README.md"]
    assert put(sample_folder, config="sample").committed
    front = DatasetCard(held(hub)["README.md"].decode())
    assert [config["config_name"] for config in front.data["configs"]] == ["default", "sample"]
    paths = [file["path"] for config in front.data["configs"] for file in config["data_files"]]
    assert paths == [f"{prefix}data/{split}-*" for prefix in ("", "sample/") for split in SPLITS]
    counts = {info["config_name"]: [s["num_examples"] for s in info["splits"]] for info in front.data["dataset_info"]}
    assert counts == {"default": [3, 3, 3], "sample": [1, 1, 1]}
    assert '| default | 3 | 3 | 3 | `load_dataset("clmeeval/cnle")` |\n' in front.text
    assert '| sample | 1 | 1 | 1 | `load_dataset("clmeeval/cnle", "sample")` |\n\n## Fields' in front.text
    assert front.text.count("## Configurations") == 1
    for folder, config in ((cnle_folder, None), (sample_folder, "sample")):
        assert not put(folder, config=config).committed
    assert len(hub.repos[REPO].commits) == 3
    local = Path(snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path / "got", endpoint=hub.url))
    assert check_dataset(local) == check_dataset(local / "sample") == []
    assert load_cnle(str(local), "train", config="sample") == load_cnle(str(sample_folder), "train")
    assert load_cnle(str(local), as_dataset=True).to_list() == [CNLE.to_row(r) for r in load_cnle(str(cnle_folder))]
    assert alone == (cnle_folder / "README.md").read_bytes()


def test_a_sample_first_and_the_benchmark_later(put, hub, cnle_folder, sample_folder):
    put(sample_folder, config="sample")
    first = DatasetCard(held(hub)["README.md"].decode())
    assert [config["config_name"] for config in first.data["configs"]] == ["sample"]
    put(cnle_folder)
    joined = held(hub)["README.md"]
    put(sample_folder, config="sample")
    assert held(hub)["README.md"] == joined
    assert sorted(held(hub)) == sorted([*RELEASE, *(f"sample/{name}" for name in RELEASE)])


def test_the_card_names_the_repository(put, hub, cnle_folder):
    text = (cnle_folder / "README.md").read_text()
    more = "See clmeeval/cnle, https://hf.co/datasets/clmeeval/cnle. Not clmeeval/cnle-x, nor my/clmeeval/cnle.\n"
    (cnle_folder / "README.md").write_text(text + more + "note = {clmeeval/cnle, v1}")
    put(cnle_folder, "writer/cnle")
    card = held(hub, "writer/cnle")["README.md"].decode()
    assert 'load_dataset("writer/cnle", split="test"' in card
    assert "A folder `writer/cnle` in the working directory" in card
    assert '`clmeeval_data.load_cnle("writer/cnle")` gives the cases' in card
    assert "See writer/cnle, https://hf.co/datasets/writer/cnle. Not clmeeval/cnle-x" in card
    assert card.endswith("note = {writer/cnle, v1}")
    assert re.findall(r"\S*clmeeval/cnle\S*", card) == ["clmeeval/cnle-x,", "my/clmeeval/cnle."]


def test_the_description_says_which_release_it_is_of(put, hub, cnle_folder, monkeypatch, tmp_path):
    put(cnle_folder, tag="v1.2.0")
    found, today = json.loads(held(hub)["croissant.json"]), datetime.now(UTC).date().isoformat()
    assert (found["url"], found["version"]) == (f"{hub.url}/datasets/{REPO}", "1.2.0")
    assert found["datePublished"] in (today, (datetime.now(UTC) - timedelta(days=1)).date().isoformat())
    base = f"{hub.url}/datasets/{REPO}/resolve/v1.2.0/"
    assert [file["contentUrl"] for file in found["distribution"]] == [base + path for path in DATA]
    earlier = held(hub)["croissant.json"].replace(found["datePublished"].encode(), b"2020-01-31")
    hub.repos[REPO].commit("years ago", {**hub.repos[REPO].head.files, "croissant.json": earlier})
    assert not put(cnle_folder).committed  # publishing it again keeps the day
    hub.repos[REPO].tags.clear()
    put(cnle_folder, tag="v1.2.0")
    assert held(hub)["croissant.json"] == earlier
    put(cnle_folder, tag="v1.3.0")
    assert json.loads(held(hub)["croissant.json"])["version"] == "1.3.0"
    put(cnle_folder, tag="final")
    assert "version" not in json.loads(held(hub)["croissant.json"])


@pytest.mark.parametrize("damaged", [b"", b"[", b"[]", b"{}", b'{"distribution": [{"contentUrl": 1}]}'])
def test_a_description_that_is_none_is_replaced(put, hub, cnle_folder, damaged):
    put(cnle_folder)
    whole = held(hub)["croissant.json"]
    hub.repos[REPO].commit("by hand", {**hub.repos[REPO].head.files, "croissant.json": damaged})
    assert put(cnle_folder).committed
    assert held(hub)["croissant.json"] == whole


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(hub, put, cnle_folder, cnle_splits, capsys, monkeypatch):
    def dry_run(*options):
        app = typer.Typer(pretty_exceptions_enable=False)
        add_to(app)
        app.command("other")(lambda: None)
        arguments = ["publish", str(cnle_folder), "--repo", REPO, "--endpoint", hub.url, "--dry-run", *options]
        monkeypatch.setattr("sys.argv", ["clmeeval-build", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_app(app)
        assert ended.value.code == 0
        return capsys.readouterr().out

    shown = dry_run("--tag", "v1.0.0")
    assert hub.repos == {}
    lines = shown.splitlines()
    plan = plan_release(cnle_folder, REPO, tag="v1.0.0", endpoint=hub.url)
    assert lines[0].startswith("clmeeval/cnle (new, public): ")
    for name in ("README.md", "manifest.json", *DATA):
        (line,) = (line for line in lines if line.startswith("add ") and f" {name} " in line)
        assert line.split()[-2:] == [f"{(cnle_folder / name).stat().st_size:,}", "bytes"]
    assert sum(file.size for file in plan.files) == int(lines[0].split()[-4].replace(",", ""))
    assert "tag     v1.0.0" in lines
    assert shown.endswith((cnle_folder / "README.md").read_text())
    put(cnle_folder)
    cnle_splits["test"] = cnle_splits["test"][:2]
    write_dataset(cnle_folder, CNLE, cnle_splits, {})
    kinds = {line.split()[1]: line.split()[0] for line in dry_run().splitlines()[1:8]}
    assert kinds == {**dict.fromkeys(RELEASE, "change"), DATA[0]: "keep", DATA[1]: "keep"}
    assert len(hub.repos[REPO].commits) == 2


# What is refused, each in one line and before anything is changed


def refused(put, hub, folder, match, **options):
    before = {name: (len(repo.commits), dict(repo.tags)) for name, repo in hub.repos.items()}
    with pytest.raises(PublishError, match=match) as caught:
        put(folder, **options)
    assert {name: (len(repo.commits), dict(repo.tags)) for name, repo in hub.repos.items()} == before
    assert not [line for line in hub.asked if line.startswith("PUT")]
    return str(caught.value)


def test_a_dataset_with_a_problem(put, hub, cnle_folder):
    (cnle_folder / DATA[0]).write_bytes(b"PAR1")
    (cnle_folder / "README.md").unlink()
    refused(put, hub, cnle_folder, r"is not fit to be published: .*README\.md: is missing and 1 more\. See 'clmeeval-b")
    assert hub.asked == []


@pytest.mark.parametrize(
    "name", ["cnle", "a/b/c", "", "clmeeval/", "clmeeval/c nle", "clmeeval/-x", "a/b..c", "a/b.git"]
)
def test_a_malformed_name(put, hub, cnle_folder, name):
    refused(put, hub, cnle_folder, "is not a name on the Hub. Expected owner/name", repo=name)


@pytest.mark.parametrize("tag", ["main", "", "v 1", "-x", "a..b", "v1.lock", "v1."])
def test_a_malformed_tag(put, hub, cnle_folder, tag):
    refused(put, hub, cnle_folder, "cannot be a tag. Expected letters", tag=tag)


@pytest.mark.parametrize("config", ["data", "a/b", "Sample", "../x", ".x"])
def test_a_malformed_configuration(put, hub, cnle_folder, config):
    refused(put, hub, cnle_folder, "cannot be the name of a configuration", config=config)


def test_no_token(put, hub, cnle_folder):
    refused(put, hub, cnle_folder, r"no token to publish clmeeval/cnle with\. Log in with 'hf auth login'", token=None)
    assert hub.asked == []


def test_a_token_without_write_access(put, hub, cnle_folder, reader):
    told = "You don't have the rights to write under the namespace clmeeval"
    match = rf"clmeeval/cnle cannot be created on the Hub: this token may not do that.*\(403: {told}\)\. Nothing was"
    refused(put, hub, cnle_folder, match, token=reader)
    assert hub.repos == {}
    put(cnle_folder)
    put_more = cnle_folder / "manifest.json"
    put_more.write_text(json.dumps({**json.loads(put_more.read_text()), "note": 1}))
    hub.asked.clear()
    refused(put, hub, cnle_folder, rf"clmeeval/cnle cannot be published: this token may not.*{told}", token=reader)


@pytest.mark.parametrize("token", ["hf_unknownunknown", "hf_line\nbreak", "hf_ümlaut"])
def test_a_token_that_is_none(put, hub, cnle_folder, token):
    told = refused(
        put, hub, cnle_folder, r"the token (is not valid there|holds characters that no token has)", token=token
    )
    assert token not in told


def test_a_name_under_somebody_elses_account(put, hub, cnle_folder):
    refused(put, hub, cnle_folder, r"\(403: You don't have the rights", repo="somebody/cnle")


def test_a_name_that_is_taken_by_what_this_token_cannot_see(put, hub, cnle_folder):
    hub.create(REPO, {"secret.txt": b"x"})
    hub.fail(f"GET /api/datasets/{REPO}$", status=404, code="RepoNotFound", message="Repository not found")
    match = (
        r"cannot be created on the Hub: the name is taken.*\(409: You already created this dataset repo\)\. Nothing was"
    )
    refused(put, hub, cnle_folder, match)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"weights.bin": b"x"}, r"holds something else than a dataset of ours \(weights\.bin\)"),
        ({"README.md": b"# mine"}, r"holds something else than a dataset of ours \(README\.md\)"),
        ({"manifest.json": b"["}, r"manifest\.json of clmeeval/cnle is not JSON of ours"),
        ({"manifest.json": b'{"benchmark": "csne"}'}, r"holds the benchmark 'csne', .* holds 'cnle'"),
        (
            {"manifest.json": b'{"benchmark": "cnle", "schema_version": "2.0"}'},
            r"holds a release of schema version '2\.0', .* is of '1\.0'; it was left as it is\. Choose another name",
        ),
        ({"sample/manifest.json": b'{"benchmark": "cnle"}'}, "holds a release of schema version None"),
        (
            {"manifest.json": b'{"benchmark": "cnle", "schema_version": "1.0"}', "cnle.py": b""},
            r"holds something else than a dataset of ours \(cnle\.py\)",
        ),
    ],
)
def test_a_repository_of_something_else(put, hub, cnle_folder, files, match):
    hub.create(REPO, files)
    refused(put, hub, cnle_folder, match)


def test_the_other_benchmark(put, hub, cnle_folder, csne_folder):
    put(csne_folder)
    hub.asked.clear()
    refused(put, hub, cnle_folder, "holds the benchmark 'csne'")
    assert json.loads(held(hub)["manifest.json"])["benchmark"] == CSNE.name


def test_a_tag_that_points_elsewhere(put, hub, cnle_folder, sample_folder, cnle_splits):
    first = put(cnle_folder, tag="v1.0.0").commit
    second = put(sample_folder, config="sample").commit
    again = put(cnle_folder, tag="v1.0.0")  # that commit holds this very release
    assert (again.commit, again.committed, again.tagged) == (first, False, None)
    assert str(again) == (
        f"{REPO}: unchanged, at commit {first}, to which v1.0.0 points already; the newest commit is {second}"
    )
    hub.asked.clear()
    refused(put, hub, sample_folder, r"points to commit .* \(README\.md differs\)", tag="v1.0.0", config="sample")
    cnle_splits["test"] = cnle_splits["test"][:2]
    write_dataset(cnle_folder, CNLE, cnle_splits, {})
    refused(put, hub, cnle_folder, f"points to commit {first[:12]}, and this release would be another", tag="v1.0.0")


def test_a_card_that_somebody_broke(put, hub, cnle_folder, sample_folder):
    put(sample_folder, config="sample")
    hub.repos[REPO].commit("by hand", {**hub.repos[REPO].head.files, "sample/README.md": b"---\na: [\n---\n"})
    hub.asked.clear()
    refused(
        put, hub, cnle_folder, r"the card of the configuration sample is not one .* again first with --config sample"
    )


@pytest.mark.parametrize("endpoint", ["localhost:1", "http://", "http://[x", "http://localhost:99999", "ftp://hub"])
def test_an_endpoint_that_is_none(cnle_folder, writer, endpoint):
    with pytest.raises(PublishError, match=r"is not an address of a Hub\. Expected one like"):
        publish(cnle_folder, REPO, endpoint=endpoint, token=writer)


def test_a_folder_that_is_none(put, hub, tmp_path):
    refused(put, hub, tmp_path / "none", r"no dataset folder .*none\. Build one with 'clmeeval-build cnle --out")
