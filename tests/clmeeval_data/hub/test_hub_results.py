"""Results on a Hub on loopback: runs add up in a dataset, the page of all of them stands in a static Space."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, snapshot_download

from clmeeval_data.errors import PublishError, ResultsError
from clmeeval_data.evaluation import leaderboard
from clmeeval_data.evaluation.publishing.publish import Destination, plan_results, publish_results
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.results import RunFolder, find_runs

# huggingface_hub hands files to its HTTP library in a way that this one has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO, SPACE = "clmeeval/results", "clmeeval/leaderboard"
IN_SPACE = f"spaces/{SPACE}"
TABLE = "data/runs-00000-of-00001.parquet"
PAGE = {"index.html", "leaderboard.md", "leaderboard.csv"}


@pytest.fixture
def put(hub, writer):
    """Publish result folders on the running Hub with a token that may."""

    def put(*folders, repo=REPO, space=SPACE, incomplete=False, **options):
        to = Destination(repo, space, endpoint=hub.url, **{"token": writer, **options})
        return publish_results(folders, to, incomplete)

    return put


def held(hub, name=REPO):
    return {path: body for path, body in hub.repos[name].head.files.items() if path != ".gitattributes"}


def table(hub):
    return pq.read_table(io.BytesIO(held(hub)[TABLE])).to_pylist()


def files_below(folder):
    return {f"results/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_go_up_as_they_are_with_a_table_and_a_card(put, hub, results, write_run):
    for method in ("none", "grace"):
        write_run(method, range(4))
    (results / "notes.txt").write_text("mine")
    dataset, space = put(results, tag="v1.0.0")
    (results / "notes.txt").unlink()
    assert {path: body for path, body in held(hub).items() if path.startswith("results/")} == files_below(results)
    assert set(held(hub)) - set(files_below(results)) == {TABLE, "README.md"}
    assert [commit.title for commit in hub.repos[REPO].commits] == ["initial commit", "2 runs: v1.0.0"]
    assert str(dataset) == f"{REPO}: published in commit {dataset.commit}, tagged v1.0.0 (2 runs in all)"
    assert hub.repos[REPO].tags == {"v1.0.0": dataset.commit} and hub.repos[IN_SPACE].tags == {"v1.0.0": space.commit}
    for row, run in zip(table(hub), load_runs([results]), strict=True):
        assert (row["path"], row["hash"]) == (f"results/{run.folder.path.relative_to(results)}", run.hash)
        assert (row["dataset"], row["model"], row["method"]) == ("cnle", "tiny", run.method)
        assert (row["signature"], row["complete"], row["protocol"]) == (run.signature, True, "single")
        assert (row["cases_total"], row["cases_finished"], row["cases_failed"]) == (4, 4, 0)
        assert json.loads(row["config"]) == run.config
        assert len([name for name in row if name.endswith("_mean")]) == len(run.estimates)
        for (dimension, metric), estimate in run.estimates.items():
            found = {part: row[f"{dimension}_{metric}_{part}"] for part in ("mean", "low", "high", "n")}
            assert found == estimate.as_dict()


def test_the_space_has_the_page_of_all_runs(put, hub, results, write_run, tmp_path):
    write_run("none", range(4))
    write_run("grace", range(4))
    put(results)
    page = held(hub, IN_SPACE)
    readme = page.pop("README.md").decode()
    leaderboard.write_leaderboard([results], tmp_path / "site")
    site = tmp_path / "site"
    assert page == {p.relative_to(site).as_posix(): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    assert set(page) > {*PAGE, "leaderboard_files/assets/tables.js", "leaderboard_files/data/tables.js"}
    assert readme.startswith("---\n") and "\nsdk: static\n" in readme and "\napp_file: index.html\n" in readme
    assert f"\ndatasets:\n- {REPO}\n" in readme
    assert DatasetCard(readme).data["sdk"] == "static"


def test_the_same_bytes_again_change_nothing(put, hub, results, write_run):
    write_run("none", range(4))
    first = put(results)
    hub.asked.clear()
    again = put(results)
    assert [outcome.committed for outcome in first + again] == [True, True, False, False]
    assert [outcome.commit for outcome in first] == [outcome.commit for outcome in again]
    assert not [line for line in hub.asked if not line.startswith(("GET", "HEAD"))]
    assert [len(repo.commits) for repo in hub.repos.values()] == [2, 2]


def test_other_runs_later_add_to_what_is_there(put, hub, results, write_run, tmp_path):
    write_run("none", range(4))
    put(results, tag="v1.0.0")
    first = held(hub)
    write_run("grace", range(4), under=tmp_path / "other")
    put(tmp_path / "other")
    assert {path: held(hub)[path] for path in first if path.startswith("results/")} == {
        path: body for path, body in first.items() if path.startswith("results/")
    }
    assert [row["method"] for row in table(hub)] == ["grace", "none"]
    assert "\n2 runs of model-editing methods" in held(hub)["README.md"].decode()
    write_run("none", range(4), under=tmp_path / "both")
    write_run("grace", range(4), under=tmp_path / "both")
    leaderboard.write_leaderboard([tmp_path / "both"], tmp_path / "site")
    for name in PAGE:
        assert held(hub, IN_SPACE)[name] == (tmp_path / "site" / name).read_bytes()
    assert not any(outcome.committed for outcome in put(tmp_path / "both"))
    old = put(results, tag="v1.0.0", space=None)[0]  # its tag is on an older commit, which holds these very runs
    assert (old.committed, old.commit) == (False, hub.repos[REPO].tags["v1.0.0"])
    assert f"to which v1.0.0 points already; the newest commit is {hub.repos[REPO].head.oid}" in str(old)
    with pytest.raises(
        PublishError, match=r"the tag v1\.0\.0 of clmeeval/results points to .* another commit \(README"
    ):
        put(tmp_path / "other", tag="v1.0.0", space=None)


def test_a_run_gives_way_only_to_a_complete_one_with_as_many_cases(put, hub, results, write_run, tmp_path):
    part = write_run("none", range(3), total=4)
    with pytest.raises(ResultsError, match=r"none of the 1 runs is complete\. Finish them .* --incomplete"):
        put(results)
    assert hub.repos == {}
    put(results, incomplete=True)
    assert [(row["complete"], row["cases_finished"]) for row in table(hub)] == [(False, 3)]
    fewer = write_run("none", range(2), total=4, under=tmp_path / "fewer")
    assert "(1 run in all; 1 stayed as on the Hub" in str(put(tmp_path / "fewer", incomplete=True)[0])
    assert (
        held(hub)[f"results/{fewer.path.relative_to(tmp_path / 'fewer')}/records.jsonl"]
        == (part.path / "records.jsonl").read_bytes()
    )
    write_run("none", range(4), under=tmp_path / "whole")
    assert all(outcome.committed for outcome in put(tmp_path / "whole"))
    assert [(row["complete"], row["cases_finished"]) for row in table(hub)] == [(True, 4)]
    assert not any(outcome.committed for outcome in put(results, incomplete=True))
    write_run("grace", range(4), under=tmp_path / "whole")
    write_run("rome", range(1), total=4, under=tmp_path / "whole")
    assert str(put(tmp_path / "whole")[0]).endswith("(2 runs in all; 1 incomplete left out)")


def test_files_of_the_run_that_gave_way_are_removed(put, hub, results, write_run, tmp_path):
    shard = write_run("none", range(3), total=4)
    (shard.path / "records.jsonl").rename(shard.path / "records-0-of-2.jsonl")
    shutil.copy(shard.path / "records-0-of-2.jsonl", shard.path / "records.jsonl")
    put(results, incomplete=True, space=None)
    assert len([path for path in held(hub) if "records" in path]) == 2
    write_run("none", range(4), under=tmp_path / "whole")
    put(tmp_path / "whole", space=None)
    assert {path for path in held(hub) if path.startswith("results/")} == set(files_below(tmp_path / "whole"))


def test_every_number_on_the_card_is_that_of_the_runs(put, hub, results, write_run):
    write_run("none", range(4))
    write_run("grace", range(4), failed=1)
    write_run("grace", range(3), dataset="csne")
    put(results, space=None)
    card = DatasetCard(held(hub)["README.md"].decode())
    sizes = [len(body) for path, body in held(hub).items() if path.startswith("results/")]
    text = " ".join(card.text.split())
    assert f"3 runs of model-editing methods on CLMEEval's benchmarks, 3 of them complete, with {4 + 4 + 3}" in text
    assert "finished cases, of which 1 failed." in text
    assert "| cnle | tiny | single | 2 | 2 | grace, none | 8 |" in text
    assert "| csne | tiny | single | 1 | 1 | grace | 3 |" in text
    assert f" {len(sizes)} files, {sum(sizes)} bytes." in text
    assert card.data["configs"] == [
        {"config_name": "default", "data_files": [{"split": "runs", "path": "data/runs-*"}]}
    ]
    for name in table(hub)[0]:
        whole, _, part = name.rpartition("_")
        shown = f"`{whole}_mean`, `_low`" if part in ("mean", "low", "high", "n") else f"| `{name}` |"
        assert shown in text


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(put, hub, results, write_run, writer):
    write_run("none", range(4))
    to = Destination(REPO, SPACE, tag="v1", endpoint=hub.url)
    dataset, space = plan_results([results], to)
    assert hub.repos == {}
    lines = dataset.lines()
    assert lines[0].startswith(f"{REPO} (new, public): ") and lines[-1] == "tag     v1"
    assert {line.split()[1] for line in lines[1:-1]} == {*files_below(results), TABLE, "README.md"}
    assert space.lines()[0].startswith(f"the Space {SPACE} (new, public): ")
    names = {change.path for change in space.changes if not change.path.startswith("leaderboard_files/")}
    assert names == {*PAGE, "README.md"}
    put(results)
    assert [plan.is_empty for plan in plan_results([results], to)] == [True, True]


def test_a_private_dataset_and_space(put, hub, results, write_run):
    write_run("none", range(4))
    put(results, private=True)
    assert all(repo.private for repo in hub.repos.values())
    hub.repos[IN_SPACE].private = False
    with pytest.raises(PublishError, match=r"^the Space clmeeval/leaderboard is public, and --private was asked for"):
        put(results, private=True)


def test_a_space_alone_is_made_of_the_runs_at_hand(put, hub, results, write_run):
    write_run("none", range(4))
    (space,) = put(results, repo=None)
    assert list(hub.repos) == [IN_SPACE]
    assert str(space) == f"the Space {SPACE}: published in commit {space.commit}"
    assert "datasets:" not in held(hub, IN_SPACE)["README.md"].decode()
    assert not put(results, repo=None)[0].committed


def test_places_on_this_machine_do_not_reach_the_page(put, hub, results, write_run):
    for number in range(5):  # alike in the settings that the table shows
        write_run("rome", range(2), config={"a": 0, "b": 0, "c": 0, "d": number} | {"z": number})
        write_run("rome", range(2), config={"a": 1, "b": 1, "c": 1, "d": number})
    put(results)
    for name in PAGE:
        assert str(results) not in held(hub, IN_SPACE)[name].decode()


# the command line


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, hub, writer):
    """Run clmeeval-leaderboard in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", writer)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-leaderboard", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            leaderboard.main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run


def test_the_command_publishes_and_ranks_what_is_on_the_hub(command, hub, results, write_run, tmp_path):
    write_run("none", range(4))
    write_run("grace", range(4))
    code, out, err = command("publish", results, "--repo", REPO, "--space", SPACE, "--endpoint", hub.url)
    assert (code, err) == (0, ""), err
    assert [line.split(": ")[0] for line in out.splitlines()] == [REPO, f"the Space {SPACE}"]
    here, there = command("results", "--out", "here"), command("--out", "there", REPO)
    assert here[0] == there[0] == 0, there[2]
    assert here[1].replace("here/index", "there/index") == there[1]
    for name in PAGE:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert list((tmp_path / "cache" / "datasets--clmeeval--results" / "snapshots").iterdir())
    code, out, _ = command("publish", "results", "--repo", REPO, "--dry-run")
    assert code == 0 and out.startswith(f"{REPO} (at ") and "# Results of editing code models" in out


def test_a_folder_comes_before_the_hub_and_a_command_before_a_folder(command, hub, write_run, tmp_path):
    write_run("none", range(2), under=tmp_path / "clmeeval" / "results")
    write_run("none", range(2), under=tmp_path / "publish")
    assert command(REPO)[0] == command("./publish")[0] == command("rank", "publish")[0] == 0
    assert hub.asked == []
    code, _, err = command("publish")
    assert code == 2 and "Missing argument" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["publish", "results"], "error: nowhere to publish to. Give --repo OWNER/NAME, --space OWNER/NAME, or both."),
        (["publish", "results", "--repo", "x"], "error: 'x' is not a name on the Hub. Expected owner/name"),
        (["publish", "results", "--repo", REPO, "--space", "x"], "error: 'x' is not a name on the Hub."),
        (["publish", "results", "--repo", REPO, "--tag", "main"], "error: 'main' cannot be a tag."),
        (["publish", "absent", "--repo", REPO], "error: no results folder absent."),
        (["no/results"], "error: 'no/results' is not a folder here, and as a dataset no/results cannot be read on the"),
        ([], "error: Missing argument 'results'."),
    ],
)
def test_what_is_wrong_is_one_line(command, hub, results, write_run, arguments, line):
    write_run("none", range(2))
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)
    assert hub.repos == {}


def test_a_dataset_without_results_is_one_line(command, hub):
    hub.create("clmeeval/cnle", {"manifest.json": b"{}"})
    code, _, err = command("clmeeval/cnle")
    assert code == 2 and err.startswith("error: the dataset clmeeval/cnle on the Hub holds no results. Expected")


def test_a_run_that_was_changed_by_hand_is_not_published(put, hub, results, write_run):
    folder = write_run("none", range(4))
    described = folder.path / "run.json"
    described.write_text(described.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ResultsError, match=r"run\.json was changed after the run: its hash is not that"):
        put(results)
    described.write_text(described.read_text().replace('"seed": 1', '"seed": 0'))
    lines = (folder.path / "records.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "records.jsonl").write_text("".join(lines[:2]))
    with pytest.raises(ResultsError, match=r"has 2 cases, its summary says 4\. Remove summary\.json and run again"):
        put(results)
    assert hub.repos == {}


def test_a_snapshot_of_the_dataset_is_a_results_folder(put, hub, results, write_run, tmp_path):
    write_run("none", range(4))
    put(results, space=None)
    local = snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path / "got", endpoint=hub.url)
    (found,) = find_runs(Path(local) / "results")
    (here,) = find_runs(results)
    assert isinstance(found, RunFolder) and (found.run(), found.summary()) == (here.run(), here.summary())


def test_publishing_loads_no_torch(results, write_run):
    write_run("none", range(2))
    program = (
        "import sys; from clmeeval_data.evaluation.publishing.publish import *; from pathlib import Path; "
        f"p = runs_at_hand([Path({str(results)!r})]); "
        "from clmeeval_data.evaluation.publishing import space, table; table.parquet_of(p.runs); "
        "assert not {'torch', 'transformers', 'datasets', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
