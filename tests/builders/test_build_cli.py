"""The command line: what it writes, and one clear line for whatever is wrong."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clmeeval_data.builders.cli import main
from clmeeval_data.builders.sources import SOURCES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-build", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call


def test_cnle_is_built_where_load_dataset_looks_for_it(run):
    code, out, err = run("cnle", "--limit", 20)
    assert code == 0
    assert out.startswith("clmeeval/cnle: 20 cases (train 7, validation 3, test 10)")
    assert "beyond the limit" in err
    import datasets

    loaded = datasets.load_dataset("clmeeval/cnle", cache_dir="cache")
    assert {split: len(loaded[split]) for split in loaded} == {"train": 7, "validation": 3, "test": 10}
    streamed = list(datasets.load_dataset("clmeeval/cnle", split="test", streaming=True))
    assert streamed == list(loaded["test"])
    assert set(streamed[0]["neighborhood"][0]) == {"intent", "snippet", "similarity"}


def test_options_reach_the_build(run):
    assert run("cnle", "--source", "sample", "--out", "here", "--limit", 12, "--seed", 5, "--neighbours", 2)[0] == 0
    manifest = json.loads(Path("here/manifest.json").read_text())
    assert (manifest["limit"], manifest["seed"], manifest["recipe"]["locality"]["count"]) == (12, 5, 2)
    assert "--set locality.count=2" in manifest["command"]
    command = manifest["command"].replace("clmeeval-build ", "").split()
    assert run(*command, "--out", "again")[0] == 0
    assert Path("again/manifest.json").read_bytes() == Path("here/manifest.json").read_bytes()


def write_pairs(path, count=40):
    """Intents and snippets that pass the filters of the published benchmark, in columns of other names."""
    verbs, things = ("sort", "reverse", "shuffle", "count"), ("lists", "names", "numbers", "words", "files")
    rows = [
        {"ask": f"{verb} the {thing} of `{thing}_{i}`", "code": f"{verb}({thing}_{i}, {i})", "question": f"q{i % 17}"}
        for i, (verb, thing) in enumerate([(verb, thing) for verb in verbs for thing in things] * (count // 20))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


OWN = (
    "--source",
    "jsonl=mine.jsonl",
    "--column",
    "prompt=ask",
    "--column",
    "target=code",
    "--column",
    "group=question",
)

SPLIT = (
    *("--set", "splits.train=0.4", "--set", "splits.validation=0.3", "--set", "splits.test=0.3"),
    *("--set", "dedup.wording=false"),
)


def test_own_pairs_are_built_by_the_published_recipe(run):
    write_pairs(Path("mine.jsonl"))
    assert run("cnle", *OWN, "--licence", "MIT", "--set", "splits={train=0.4, validation=0.3, test=0.3}")[0] == 2
    code, _, err = run("cnle", *OWN, "--licence", "MIT", *SPLIT, "--work", "work", "--keep-work", "--jobs", 2)
    assert code == 0, err
    manifest = json.loads(Path("clmeeval/cnle/manifest.json").read_text())
    assert manifest["recipe"]["name"] == "cnle"
    assert manifest["recipe"]["dedup"]["wording"] is False
    assert manifest["sources"][0]["files"][0]["address"] == "mine.jsonl"
    assert len(list(Path("work").iterdir())) == 1
    assert sum(split["examples"] for split in manifest["splits"].values()) > 20, err
    assert run("validate", "clmeeval/cnle")[0] == 0
    command = shlex.split(manifest["command"])[1:]
    assert run(*command, "--out", "again")[0] == 0
    assert Path("again/manifest.json").read_bytes() == Path("clmeeval/cnle/manifest.json").read_bytes()


def test_hostile_rows_are_counted_and_left_out(run):
    path = Path("mine.jsonl")
    write_pairs(path)
    hostile = [
        {"ask": "store a null byte of `data`", "code": "data = '\0'"},
        {"ask": "store half of an emoji of `data`", "code": "data = '\ud83d'"},
        {"ask": "ask for \ud83d half an emoji in `data`", "code": "data.find(half)"},
        {"ask": "add a very long list to `data`", "code": f"data = [{'1, ' * 350_000}]"},
        {"ask": "n" * 1_000_000, "code": "data = 1"},
        {"ask": "nothing for `data`", "code": None},
        {"ask": ["a", "list"], "code": "data = 1"},
    ]
    with path.open("a") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in [*hostile, json.loads(path.read_text().splitlines()[0])])
        lines.write('{"ask": "broken off')
    code, _, err = run("cnle", *OWN, "--max-unreadable", "0.5", *SPLIT)
    assert code == 0, err
    assert run("validate", "clmeeval/cnle")[0] == 0
    manifest = json.loads(Path("clmeeval/cnle/manifest.json").read_text())
    assert manifest["funnel"]["read"] == 49
    assert sum(drop["count"] for drop in manifest["funnel"]["dropped"]) >= 9
    code, _, err = run("cnle", *OWN, "--out", "again", *SPLIT)
    assert code == 0  # under a hundred rows are too few to judge a source by
    written = "".join(
        path.read_text(errors="strict") for path in Path("clmeeval/cnle").glob("*.*") if path.suffix != ".gz"
    )
    assert "\0" not in written


def test_rows_of_other_licences_go_when_asked_to(run):
    write_pairs(Path("mine.jsonl"))
    code, _, err = run("cnle", *OWN, "--licences", "permissive")
    assert code == 2
    assert "would be empty" in err


def test_a_report_shows_the_funnel_and_draws_it(run):
    run("cnle", "--limit", 12)
    code, out, _ = run("report", "clmeeval/cnle")
    assert code == 0
    assert "beyond the limit" in out
    assert out.endswith("picture: clmeeval/cnle/funnel.svg\n")
    assert "258" in Path("clmeeval/cnle/funnel.svg").read_text()
    assert run("validate", "clmeeval/cnle") == (0, "0 problems\n", "")
    assert run("report", "clmeeval/cnle", "--picture", "funnel.png")[0] == 0
    assert Path("funnel.png").read_bytes().startswith(b"\x89PNG")


def test_recipes_are_listed_and_each_value_may_be_set(run):
    code, out, _ = run("recipes")
    assert code == 0
    assert out.splitlines()[0] == "cnle-sample: cnle from sample"
    code, out, _ = run("recipes", "cnle-sample")
    settings = [word for line in out.splitlines() for word in ("--set", line)]
    assert run("cnle", "--limit", 12, *settings)[0] == 0
    assert "--set" not in json.loads(Path("clmeeval/cnle/manifest.json").read_text())["command"]


def test_validate_says_what_is_wrong(run):
    run("cnle", "--limit", 12)
    assert run("validate", "clmeeval/cnle") == (0, "0 problems\n", "")
    path = next(Path("clmeeval/cnle/data").glob("test-*"))
    path.write_bytes(path.read_bytes()[:200])
    code, out, _ = run("validate", "clmeeval/cnle")
    assert code == 1
    assert "test" in out.splitlines()[0]
    assert out.splitlines()[-1].endswith(("problem", "problems"))


def test_sources_are_listed(run):
    code, out, _ = run("sources")
    assert code == 0
    assert all(name in out for name in SOURCES)
    assert "PSF-2.0" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnle", "--source", "sampel"], "unknown source 'sampel'. Did you mean 'sample'?"),
        (["csne", "--source", "sample"], "source 'sample' makes cnle cases, not csne. Sources for csne: stdlib, "),
        (["cnle", "--limit", "0"], "--limit 0 is too small for three splits. Expected at least 10"),
        (["cnle", "--limit", "-3"], "--limit -3 is too small"),
        (["csne", "--limit", "9"], "--limit 9 is too small"),
        (["cnle", "--neighbours", "0"], "--neighbours 0 is too small. Expected at least 1"),
        (["cnle", "--neighbours", "5000"], "--neighbours 5000 is more than the cases of some split have"),
        (["cnle", "--source", "sample="], "--source 'sample=' is not of the form NAME or NAME=LOCATION."),
        (["cnle", "--source", "stackoverflow"], "source 'stackoverflow' has no address of its own. Say where it is"),
        (["cnle", "--source", "stackoverflow=nowhere.jsonl"], "no file or folder nowhere.jsonl."),
        (["cnle", "--recipe", "cnel"], "unknown recipe 'cnel'."),
        (["cnle", "--recipe", "csne"], "recipe 'csne' makes csne, not cnle. Expected one of: cnle-sample, cnle."),
        (["cnle", "--set", "dedup"], "'dedup' is not a setting. Expected name=value"),
        (
            ["cnle", "--set", "near_text=9"],
            "recipe 'cnle-sample' has no value 'near_text'. Did you mean dedup.near_text?",
        ),
        (
            ["cnle", "--set", "locality.scorer=fast"],
            "locality.scorer='fast' doesn't fit recipe 'cnle-sample': Input should",
        ),
        (
            ["cnle", "--set", "splits.test=2"],
            "splits {'train': 0.35, 'validation': 0.15, 'test': 2.0} are not three shares",
        ),
        (["cnle", "--set", 'engines=["llmm"]'], "unknown engine 'llmm'."),
        (["cnle", "--licences", "free"], "unknown licences 'free'. Known: all, permissive."),
        (["cnle", "--column", "ask"], "--column 'ask' is not of the form FIELD=COLUMN"),
        (["cnle", "--max-unreadable", "2"], "a share of 2.0 unreadable rows can't be tolerated."),
        (["cnle", "--jobs", "0"], "--jobs 0 is too small."),
        (["cnle", "--executor", "rai"], "unknown executor 'rai'. Did you mean 'ray'?"),
        (["cnle", "--address", "auto"], "--address auto is for Ray"),
        (["recipes", "nonsense"], "unknown recipe 'nonsense'."),
        (["report", "nowhere"], "no dataset folder nowhere"),
        (["validate", "nowhere"], "no folder nowhere"),
        (["cnle", "--out", "taken"], "taken is a folder that holds something else, not a dataset of ours"),
        (["cnle", "--out", "file/below"], "cannot write file/below"),
    ],
)
def test_what_is_wrong_is_one_line(run, arguments, message):
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    Path("file").write_text("mine")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert Path("taken/notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(run):
    Path("locked").mkdir(mode=0o500)
    code, _, err = run("cnle", "--out", "locked/cnle")
    assert code == 2
    assert err.startswith("error: cannot write locked/cnle")


def command(*arguments, cwd):
    code = "from clmeeval_data.builders.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["cnle", "--bogus"], ["cnle", "--limit", "many"], ["nonsense"]])
def test_a_wrong_option_is_one_line(tmp_path, arguments):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "--help" in done.stderr


def test_help_has_examples(tmp_path):
    done = command("csne", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "clmeeval-build csne --source stdlib --out clmeeval/csne --limit 200" in " ".join(done.stdout.split())


def test_building_loads_no_torch(tmp_path):
    code = (
        "import sys\nfrom clmeeval_data.builders.pipeline import build\n"
        "from clmeeval_data.builders.recipes import CNLE_SAMPLE\n"
        "from clmeeval_data.builders.sources import open_source\nfrom pathlib import Path\n"
        "build(CNLE_SAMPLE, [open_source('sample', 'cnle')], Path('out'), limit=10)\n"
        "assert not {'torch', 'transformers', 'openai'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, timeout=60)
