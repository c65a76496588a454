"""Whole builds: the same bytes twice, what every dataset promises, and a funnel that adds up."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from clmeeval_data import storage, syntax
from clmeeval_data.builders.execution import open_executor
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import CNLE_SAMPLE, CSNE_SAMPLE
from clmeeval_data.builders.sources import DEFAULT_OPTIONS, SourceFile, read
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.builders.sources.stdlib import StdlibSource
from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.paraphrase.equivalence import alpha_equivalent
from clmeeval_data.records import BENCHMARKS, SPLITS
from clmeeval_data.validate import check_dataset

# Enough modules for three splits, small enough to build in a second or two.
MODULES = ["bdb", "calendar", "cmd", "code", "contextlib", "difflib", "ftplib", "glob", "heapq", "linecache", "pkgutil"]
MODULES += [
    "shlex",
    "shutil",
    "smtplib",
    "statistics",
    "symtable",
    "textwrap",
    "threading",
    "timeit",
    "trace",
    "zipapp",
]


SAMPLE = list(read(SampleSource()))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder with some files of the standard library."""
    folder = tmp_path_factory.mktemp("Lib")
    for module in MODULES:
        shutil.copy(Path(sysconfig.get_path("stdlib")) / f"{module}.py", folder)
    return folder


@pytest.fixture(scope="module", params=["cnle", "csne"])
def built(request, library, tmp_path_factory):
    """A built dataset of each benchmark: how it is built, where, and the report."""
    recipe, source = (CNLE_SAMPLE, SampleSource()) if request.param == "cnle" else (CSNE_SAMPLE, StdlibSource(library))
    out = tmp_path_factory.mktemp("built") / request.param
    return recipe, source, out, build(recipe, [source], out)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def records(folder):
    return {split: storage.read_split(folder, split) for split in SPLITS}


def test_the_dataset_is_valid(built):
    _, _, out, _ = built
    assert check_dataset(out) == []


def test_the_same_build_elsewhere_gives_the_same_bytes(built, tmp_path):
    recipe, source, out, _ = built
    build(recipe, [source], tmp_path / "again")
    assert content(tmp_path / "again") == content(out)


@pytest.mark.parametrize(("jobs", "shard_size"), [(2, 50), (1, 7)])
def test_neither_the_workers_nor_the_shards_decide_what_comes_out(built, tmp_path, jobs, shard_size):
    recipe, source, out, _ = built
    build(recipe, [source], tmp_path / "again", executor=open_executor(jobs=jobs), shard_size=shard_size)
    assert content(tmp_path / "again") == content(out)
    assert [path.name for path in tmp_path.iterdir()] == ["again"], "the work folder was left behind"


ELSEWHERE = """
import sys
from pathlib import Path
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import recipe_named
from clmeeval_data.builders.sources import open_source
recipe = recipe_named(sys.argv[1])
build(recipe, [open_source(sys.argv[2], recipe.benchmark)], Path(sys.argv[3]))
"""


def test_the_order_of_sets_does_not_decide_what_comes_out(built, library, tmp_path):
    """Python orders the texts of a set anew in each process, unless it is told a number to start from."""
    recipe, source, out, _ = built
    spec = source.name if recipe.benchmark == "cnle" else f"{source.name}={library}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": "17"}
    command = [sys.executable, "-c", ELSEWHERE, recipe.name, spec, tmp_path / "out"]
    subprocess.run(command, env=environment, check=True)
    assert content(tmp_path / "out") == content(out)


ON_RAY = """
import sys
from pathlib import Path
from clmeeval_data.builders.execution import open_executor
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import CNLE_SAMPLE
from clmeeval_data.builders.sources.sample import SampleSource
build(CNLE_SAMPLE, [SampleSource()], Path(sys.argv[1]), executor=open_executor("ray", 2), shard_size=50)
"""


def test_a_build_on_a_local_ray_cluster_gives_the_same_bytes(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'clmeeval-data[ray]'")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", ON_RAY, tmp_path / "ray"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    build(CNLE_SAMPLE, [SampleSource()], tmp_path / "here")
    assert content(tmp_path / "ray") == content(tmp_path / "here")


def test_another_seed_gives_other_splits(tmp_path):
    splits = []
    for seed in (0, 1):
        build(CNLE_SAMPLE, [SampleSource()], tmp_path / f"{seed}", seed=seed)
        found = records(tmp_path / f"{seed}").items()
        splits.append({record.case_id: split for split, cases in found for record in cases})
    assert splits[0].keys() == splits[1].keys()
    assert splits[0] != splits[1]


def test_every_case_keeps_the_promises(built):
    recipe, _, out, _ = built
    benchmark = BENCHMARKS[recipe.benchmark]
    groups = {}
    for split, found in records(out).items():
        assert [record.case_id for record in found] == sorted(record.case_id for record in found)
        for record in found:
            prompt, rephrased, target = (
                getattr(record, field)
                for field in (benchmark.prompt_field, benchmark.rephrased_field, benchmark.target_field)
            )
            assert record.case_id == benchmark.case_id(prompt, target)
            assert prompt != rephrased
            assert target.casefold() not in prompt.casefold()
            assert target.casefold() not in rephrased.casefold()
            assert groups.setdefault(record.provenance.group, split) == split
            assert record.rephrasing.engine in recipe.engines
            assert len(record.neighborhood) == recipe.locality.count
            closeness = [neighbour.similarity for neighbour in record.neighborhood]
            assert closeness == sorted(closeness, reverse=True)
            assert all(0 <= value <= 100 for value in closeness)
            neighbour_prompts = {getattr(neighbour, benchmark.prompt_field) for neighbour in record.neighborhood}
            neighbour_targets = {getattr(neighbour, benchmark.target_field) for neighbour in record.neighborhood}
            assert prompt not in neighbour_prompts
            assert target not in neighbour_targets
            assert len(neighbour_prompts) == len(neighbour_targets) == recipe.locality.count


def test_every_split_has_its_share(built):
    _, _, out, report = built
    total = sum(report.counts.values())
    assert {split: len(found) for split, found in records(out).items()} == report.counts
    assert report.counts["test"] >= 0.4 * total
    assert min(report.counts.values()) > 0


def test_functions_are_rewritten_with_the_same_meaning(built):
    recipe, _, out, _ = built
    for found in records(out).values():
        for record in found:
            if recipe.benchmark == "csne":
                assert alpha_equivalent(record.code, record.code_rewrite)
                assert record.func_name.rpartition(".")[2] in record.code
                assert '"""' not in syntax.tokens(record.code)
            else:
                assert syntax.parses(record.snippet)


def test_the_funnel_adds_up(built):
    _, _, out, report = built
    manifest = json.loads((out / storage.MANIFEST).read_text())
    assert manifest["funnel"] == json.loads(json.dumps(report.funnel.as_dict()))
    assert report.funnel.kept == sum(report.counts.values())
    assert report.funnel.read == report.funnel.kept + sum(drop["count"] for drop in manifest["funnel"]["dropped"])


def test_what_was_dropped_is_kept_aside_with_its_reason(built):
    _, source, out, report = built
    rows = list(storage.read_jsonl(out / storage.DROPPED))
    kept = {
        (record.provenance.origin, getattr(record, "func_name", ""))
        for found in records(out).values()
        for record in found
    }
    assert report.funnel.read == sum(1 for _ in read(source)) == len(rows) + sum(report.counts.values())
    assert not kept & {(row["origin"], row["func_name"]) for row in rows if row["step"] != "duplicates"}
    counts = Counter((row["step"], row["reason"]) for row in rows)
    assert counts == {(drop.step, drop.reason): drop.count for drop in report.funnel.ordered()}


def test_the_manifest_says_how_to_build_it_again_and_nothing_of_this_machine(built):
    recipe, source, out, _ = built
    text = (out / storage.MANIFEST).read_text()
    manifest = json.loads(text)
    assert manifest["recipe"]["name"] == recipe.name
    assert [found["name"] for found in manifest["sources"]] == [source.name]
    assert manifest["sources"][0]["files"] == [asdict(file) for file in source.files()]
    assert source.spec in ("sample", "stdlib=Lib0")
    command = f"clmeeval-build {recipe.benchmark} --recipe {recipe.name} --source {source.spec} --seed 0"
    assert manifest["command"] == command
    assert set(manifest["tools"]) >= {"rapidfuzz", "tree-sitter", "tree-sitter-python"}
    assert manifest["licences"] == "all"
    assert str(out.parent) not in text


def test_a_limit_keeps_some_of_the_same_cases(built, tmp_path):
    recipe, source, out, _ = built
    report = build(recipe, [source], tmp_path / "some", limit=15)
    assert sum(report.counts.values()) == 15
    assert min(report.counts.values()) >= 1
    assert check_dataset(tmp_path / "some") == []
    for split, found in records(tmp_path / "some").items():
        assert {repr(record) for record in found} <= {repr(record) for record in records(out)[split]}


def test_a_limit_beyond_the_source_is_noted(tmp_path):
    report = build(CNLE_SAMPLE, [SampleSource()], tmp_path / "all", limit=5000)
    assert report.notes == (f"5000 cases were asked for; the source has {report.funnel.kept} that pass all filters.",)
    assert build(CNLE_SAMPLE, [SampleSource()], tmp_path / "all").notes == ()


def test_more_neighbours_begin_with_the_same_ones(built, tmp_path):
    recipe, source, out, _ = built
    wider = replace(recipe, locality=replace(recipe.locality, count=5))
    build(wider, [source], tmp_path / "wide")
    before, after = (
        {record.case_id: record.neighborhood for found in records(folder).values() for record in found}
        for folder in (out, tmp_path / "wide")
    )
    assert all(after[case_id][:3] == near for case_id, near in before.items())
    assert all(len(near) == 5 for near in after.values())


class Rows:
    """A source of given readings: pairs, unreadable rows and skipped ones, all of them under one name."""

    benchmark, licence, summary, options = "cnle", "MIT", "rows", DEFAULT_OPTIONS
    name = spec = "rows"

    def __init__(self, *readings):
        self._readings = readings

    def rows(self):
        return ({"place": place} for place in range(len(self._readings)))

    def pairs(self, row):
        yield self._readings[row["place"]]

    def files(self):
        content = repr(self._readings).encode()
        return (SourceFile("rows.jsonl", "", len(content), hashlib.sha256(content).hexdigest(), "MIT"),)


def test_repeated_and_unusable_rows_are_dropped_with_their_reason(tmp_path):
    good = list(SAMPLE)
    again = replace(good[0], prompt=good[0].prompt.upper(), target="other()")
    unwritten = replace(good[1], prompt="a prompt that nobody worded anew", rephrasing=None)
    close = replace(good[2], prompt="a prompt in need of words", rephrasing="a prompt in need of word")
    broken = replace(good[3], prompt="a prompt with a broken snippet", target="print(")
    report = build(CNLE_SAMPLE, [Rows(*good, again, unwritten, close, broken)], tmp_path / "out")
    reasons = {(drop.step, drop.reason): drop.samples for drop in report.funnel.ordered()}
    assert set(reasons) == {
        ("syntax", "does not parse"),
        ("duplicates", "the same prompt as another row"),
        ("rephrasing", "human: no rewording"),
        ("rephrasing", "human: too close"),
    }
    assert reasons["syntax", "does not parse"] == ["a prompt with a broken snippet -> print("]


def test_other_rows_do_not_move_a_case(tmp_path):
    rows = list(SAMPLE)
    build(CNLE_SAMPLE, [Rows(*rows)], tmp_path / "all")
    build(CNLE_SAMPLE, [Rows(*rows[::-1][: len(rows) // 2])], tmp_path / "half")
    everything = {record.case_id: split for split, found in records(tmp_path / "all").items() for record in found}
    for split, found in records(tmp_path / "half").items():
        assert {everything[record.case_id] for record in found} == {split}


def test_too_few_rows_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"would be empty .*too few usable rows"):
        build(CNLE_SAMPLE, [Rows(*SAMPLE[:1])], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_cases_without_enough_neighbours_are_an_error(tmp_path):
    same = [replace(pair, target="a.sort()") for pair in SAMPLE]
    with pytest.raises(ConfigError, match="--neighbours 3 is more than the cases of some split have"):
        build(CNLE_SAMPLE, [Rows(*same)], tmp_path / "out")


def test_what_is_in_the_way_is_found_before_the_work_starts(tmp_path):
    class Unread(Rows):
        def rows(self):
            raise AssertionError("the source was read")

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(DatasetError, match="not a dataset of ours"):
            build(CNLE_SAMPLE, [Unread()], out)
    with pytest.raises(DatasetError, match="is not a folder that you may write to"):
        build(CNLE_SAMPLE, [Unread()], tmp_path / "file" / "below")
    with pytest.raises(ConfigError, match="too small"):
        build(CNLE_SAMPLE, [Unread()], tmp_path / "new", limit=2)
    assert (tmp_path / "full" / "thesis.tex").read_text() == "mine"


def test_building_again_replaces_the_dataset(tmp_path):
    build(CNLE_SAMPLE, [SampleSource()], tmp_path / "out", limit=20)
    build(CNLE_SAMPLE, [SampleSource()], tmp_path / "out", limit=30)
    assert sum(map(len, records(tmp_path / "out").values())) == 30


def test_stages_report_their_advance(tmp_path):
    seen = []

    def track(rows, title, total):
        found = list(rows)
        seen.append((title, total, len(found)))
        return found

    build(CNLE_SAMPLE, [SampleSource()], tmp_path / "out", limit=20, track=track)
    total = len(list(SAMPLE))
    assert seen == [
        ("reading sample", None, total),
        ("removing duplicates", total, total),
        ("rephrasing", total, total),
        ("finding neighbours", 20, 20),
        ("writing train", 7, 7),
        ("writing validation", 3, 3),
        ("writing test", 10, 10),
    ]
