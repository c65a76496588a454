"""What goes into a build and what does not: several sources, licences, damage, shards, and the pool in its file."""

import hashlib
import json
import shlex
from collections import Counter
from dataclasses import replace

import pytest

from clmeeval_data import storage
from clmeeval_data.builders.licences import LICENCES, PERMISSIVE, licences_named
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.pipeline.damage import Tolerance
from clmeeval_data.builders.pipeline.plan import Plan
from clmeeval_data.builders.pipeline.pool import Pool, from_row, to_row
from clmeeval_data.builders.pipeline.stages import in_shards
from clmeeval_data.builders.recipes import CNLE_SAMPLE
from clmeeval_data.builders.sources import DEFAULT_OPTIONS, Pair, Skipped, SourceFile, SourceOptions, Unreadable, read
from clmeeval_data.builders.sources.own import OwnPairs
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.builders.sources.stackoverflow import title_key
from clmeeval_data.errors import ConfigError, SourceError, UnknownNameError
from clmeeval_data.records import CNLE, SPLITS, Provenance
from clmeeval_data.validate import check_dataset

SAMPLE = list(read(SampleSource()))
MANY = [replace(pair, prompt=f"{pair.prompt} {number}") for number in range(3) for pair in SAMPLE][:500]


class Rows:
    """A source of given readings."""

    benchmark, licence, summary = "cnle", "MIT", "rows"

    def __init__(self, *readings, name="rows", options=DEFAULT_OPTIONS):
        self.name = self.spec = name
        self._readings = readings
        self.options = options

    def rows(self):
        return ({"place": place} for place in range(len(self._readings)))

    def pairs(self, row):
        yield self._readings[row["place"]]

    def files(self):
        content = repr(self._readings).encode()
        return (SourceFile("rows.jsonl", "", len(content), hashlib.sha256(content).hexdigest(), "MIT"),)


def licensed(pairs, licence):
    return [replace(pair, provenance=replace(pair.provenance, licence=licence)) for pair in pairs]


def records(folder):
    return [record for split in SPLITS for record in storage.read_split(folder, split)]


def manifest(folder):
    return storage.read_manifest(folder)


def reasons(report):
    return {(drop.step, drop.reason): drop.count for drop in report.funnel.ordered()}


# Sources


def named(pairs, source):
    return [replace(pair, provenance=replace(pair.provenance, source=source)) for pair in pairs]


WORDS = "clmeeval-build cnle --recipe cnle-sample --source rows --source more --source rows --seed 0"


def test_several_sources_are_one_corpus_and_the_earlier_one_decides(tmp_path):
    again = [replace(pair, target=f"other_{number}()") for number, pair in enumerate(SAMPLE[:30])]
    more = Rows(*named([*again, *SAMPLE[100:150]], "more"), name="more")
    first, third = (Rows(*named(pairs, "rows")) for pairs in (SAMPLE[:100], SAMPLE[150:180]))
    report = build(CNLE_SAMPLE, [first, more, third], tmp_path / "out", shard_size=16)
    assert report.funnel.read == 210
    assert reasons(report) == {("duplicates", "the same prompt as another row"): 30}
    by_intent = {record.intent: record.snippet for record in records(tmp_path / "out")}
    assert by_intent == {pair.prompt: pair.target for pair in SAMPLE[:180]}
    found = manifest(tmp_path / "out")
    assert [source["name"] for source in found["sources"]] == ["rows", "more", "rows"]
    assert found["command"] == WORDS
    dropped = list(storage.read_jsonl(tmp_path / "out" / storage.DROPPED))
    kept = {record.case_id: f"{record.intent} -> {record.snippet}" for record in records(tmp_path / "out")}
    assert [row["target"] for row in dropped] == [pair.target for pair in again]
    assert all(row["source"] == "more" and row["decider"] == kept[row["decided_by"]] for row in dropped)
    assert [row["case_id"] for row in dropped] == [CNLE.case_id(pair.prompt, pair.target) for pair in again]


def test_the_order_of_the_sources_does_not_matter_where_there_is_no_duplicate(tmp_path):
    halves = [Rows(*SAMPLE[:100]), Rows(*SAMPLE[100:])]
    build(CNLE_SAMPLE, halves, tmp_path / "one")
    build(CNLE_SAMPLE, halves[::-1], tmp_path / "two")
    assert records(tmp_path / "one") == records(tmp_path / "two")


def test_one_question_of_two_sources_is_one_group(tmp_path):
    def grouped(pair, group):
        return replace(pair, provenance=replace(pair.provenance, group=group))

    def title_of(pair):
        return f"How can I {pair.prompt}?"

    curated = [
        grouped(replace(pair, rephrasing=title_of(pair)), f"so-{number}") for number, pair in enumerate(SAMPLE[:60])
    ]
    titles = [grouped(pair, f"so-title-{title_key(title_of(pair))}") for pair in SAMPLE[40:120]]
    titles = [replace(pair, prompt=f"{pair.prompt} again") for pair in titles]
    build(CNLE_SAMPLE, [Rows(*curated), Rows(*titles, name="titles")], tmp_path / "out")
    groups = {record.intent: record.provenance.group for record in records(tmp_path / "out")}
    found = [groups[pair.prompt] for pair in titles]
    assert found[:20] == [f"so-{number}" for number in range(40, 60)]
    assert all(group.startswith("so-title-") for group in found[20:])
    assert max(Counter(groups.values()).values()) == 2
    assert check_dataset(tmp_path / "out") == []


def test_no_source_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"no source to build from\. Expected at least one --source\."):
        build(CNLE_SAMPLE, [], tmp_path / "out")


def test_the_options_of_a_source_are_in_the_manifest_without_paths(tmp_path):
    (tmp_path / "licences.json").write_text("[]")
    options = SourceOptions(
        cache=tmp_path, prob=0.5, columns={"prompt": "ask"}, repository_licences=tmp_path / "licences.json"
    )
    build(CNLE_SAMPLE, [Rows(*SAMPLE, options=options)], tmp_path / "out")
    assert manifest(tmp_path / "out")["sources"][0]["options"] == {
        "prob": 0.5,
        "columns": {"prompt": "ask"},
        "repository_licences": {"name": "licences.json", "sha256": hashlib.sha256(b"[]").hexdigest()},
    }
    assert str(tmp_path) not in json.dumps(manifest(tmp_path / "out"))


def test_the_command_in_the_manifest_has_all_that_decides(tmp_path):
    (tmp_path / "mine.jsonl").write_text("")
    (tmp_path / "licences.json").write_text("[]")
    options = SourceOptions(tmp_path, 0.0, {"prompt": "my ask"}, "MIT", tmp_path / "licences.json", True)
    sources = tuple(OwnPairs(place, "cnle", options) for place in (tmp_path / "mine.jsonl", "a/b@v1", URL))
    recipe = replace(CNLE_SAMPLE, engines=("rules",), locality=replace(CNLE_SAMPLE.locality, count=5))
    words = shlex.split(plan(recipe=recipe, sources=sources, limit=10, seed=3, licences=PERMISSIVE).command())
    assert words == [
        *("clmeeval-build", "cnle", "--recipe", "cnle-sample"),
        *("--source", "jsonl=mine.jsonl", "--source", "jsonl=a/b@v1", "--source", f"jsonl={PUBLIC_URL}"),
        *("--set", 'engines=["rules"]', "--set", "locality.count=5"),
        *("--column=prompt=my ask", "--licence=MIT", "--repository-licences=licences.json"),
        *("--seed", "3", "--licences", "permissive", "--limit", "10"),
    ]


URL = f"https://me:secret@example.org/mine.jsonl#sha256={64 * 'a'}"
PUBLIC_URL = URL.replace("me:secret@", "")


def test_a_finished_build_keeps_its_shards_when_asked_to(tmp_path):
    build(CNLE_SAMPLE, [SampleSource()], tmp_path / "out", work=tmp_path / "work", keep_work=True, shard_size=100)
    (folder,) = (tmp_path / "work").iterdir()
    assert len(list((folder / "rephrased").iterdir())) == 3
    report = build(CNLE_SAMPLE, [SampleSource()], tmp_path / "out", seed=1, work=tmp_path / "work")
    assert report.notes == (
        f"unfinished work of other builds is in {tmp_path / 'work'}; delete what you won't take up again.",
    )
    assert list((tmp_path / "work").iterdir()) == [folder]


def plan(**changes):
    given = {
        "recipe": CNLE_SAMPLE,
        "sources": (Rows(*SAMPLE[:3]),),
        "limit": None,
        "seed": 0,
        "licences": None,
        "shard_size": 10,
    }
    return Plan(**{**given, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": replace(CNLE_SAMPLE, locality=replace(CNLE_SAMPLE.locality, count=4))},
        {"sources": (Rows(*SAMPLE[:4]),)},
        {"sources": (Rows(*SAMPLE[:3], name="others"),)},
        {"sources": (Rows(*SAMPLE[:3], options=SourceOptions(prob=0.1)),)},
        {"sources": (Rows(*SAMPLE[:3]),) * 2},
        {"limit": 10},
        {"seed": 1},
        {"licences": PERMISSIVE},
        {"shard_size": 11},
    ],
)
def test_work_is_kept_under_all_that_decides_it(changes):
    assert plan(**changes).identity() != plan().identity() == plan().identity()


def test_work_is_not_kept_under_what_decides_nothing(tmp_path):
    options = SourceOptions(cache=tmp_path, offline=True)
    assert plan(sources=(Rows(*SAMPLE[:3], options=options),)).identity() == plan().identity()


def test_work_of_other_code_is_not_taken_over(monkeypatch):
    before = plan().identity()
    monkeypatch.setattr("clmeeval_data.builders.pipeline.plan._code", lambda: iter([]))
    assert plan().identity() != before


# Licences


def test_only_permissive_licences_are_kept_when_asked_for(tmp_path):
    mixed = [*licensed(SAMPLE[:90], "MIT"), *licensed(SAMPLE[90:95], "GPL-3.0-only"), *SAMPLE[95:150]]
    mixed += licensed(SAMPLE[150:152], "LicenseRef-unknown")
    report = build(CNLE_SAMPLE, [Rows(*mixed)], tmp_path / "out", licences=PERMISSIVE)
    assert reasons(report) == {
        ("licences", "GPL-3.0-only is not permissive"): 5,
        ("licences", "LicenseRef-unknown is not permissive"): 2,
    }
    assert {record.provenance.licence for record in records(tmp_path / "out")} == {"MIT", "Apache-2.0"}
    assert len(records(tmp_path / "out")) == 145
    found = manifest(tmp_path / "out")
    assert found["licences"] == "permissive"
    assert found["command"].endswith(" --licences permissive")


def test_licences_are_asked_for_by_name():
    assert licences_named("all") is None
    assert licences_named("permissive") is PERMISSIVE
    with pytest.raises(UnknownNameError, match=r"unknown licences 'free'\. Known: all, permissive\."):
        licences_named("free")


@pytest.mark.parametrize(
    "licence", ["GPL-2.0-only", "LGPL-3.0-or-later", "AGPL-3.0-only", "MPL-2.0", "EPL-2.0", "CC-BY-SA-3.0", "", "mit"]
)
def test_copyleft_share_alike_and_the_unknown_are_not_permissive(licence):
    assert licence not in PERMISSIVE.allowed
    assert {"MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "PSF-2.0"} <= PERMISSIVE.allowed
    assert LICENCES == {"permissive": PERMISSIVE}


# Damage


def test_unreadable_and_skipped_rows_are_counted_and_passed_over(tmp_path):
    damaged = [Unreadable("not JSON", '{"intent": '), Unreadable("field 'snippet' is missing", "\ud83d\0")]
    skipped = [Skipped("below the threshold", "sort a list")] * 60
    report = build(CNLE_SAMPLE, [Rows(*SAMPLE, *damaged, *skipped)], tmp_path / "out", shard_size=50)
    assert reasons(report) == {
        ("reading", "field 'snippet' is missing"): 1,
        ("reading", "not JSON"): 1,
        ("skipped", "below the threshold"): 60,
    }
    assert report.funnel.read == len(SAMPLE) + 62 == report.funnel.kept + 62
    assert check_dataset(tmp_path / "out") == []
    rows = list(storage.read_jsonl(tmp_path / "out" / storage.DROPPED))
    assert [row["text"] for row in rows[:3]] == ['{"intent": ', "\ud83d\0", "sort a list"]


@pytest.mark.parametrize("shard_size", [10, 1000])
def test_too_much_damage_stops_the_build_with_count_and_first_reason(tmp_path, shard_size):
    rows = [*MANY[:98], *[Unreadable("not JSON", '{"in\ntent": ')] * 2, *MANY[98:]]
    with pytest.raises(
        SourceError, match=r"2 of the first \d+ rows of source 'rows'.*first one: not JSON: '{\"in tent"
    ):
        build(CNLE_SAMPLE, [Rows(*rows[:150])], tmp_path / "out", shard_size=shard_size)
    assert not (tmp_path / "out").exists()


def test_damage_within_the_share_is_tolerated_and_the_share_can_be_raised(tmp_path):
    rows = [*SAMPLE[:100], *[Unreadable("not JSON", "{")] * 5, *SAMPLE[100:]]
    options = {"shard_size": 10, "work": tmp_path / "work"}
    with pytest.raises(SourceError, match=r"more than 1 %.*or raise --max-unreadable"):
        build(CNLE_SAMPLE, [Rows(*rows)], tmp_path / "out", **options)
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("selected/*")}
    assert len(first) == 11
    report = build(CNLE_SAMPLE, [Rows(*rows)], tmp_path / "out", tolerance=Tolerance(0.05), keep_work=True, **options)
    assert reasons(report) == {("reading", "not JSON"): 5}
    assert all(path.stat().st_mtime_ns == written for path, written in first.items()), "finished shards were done again"


def test_each_source_is_judged_by_itself(tmp_path):
    bad = [*MANY[:95], *[Unreadable("not JSON", "{")] * 5]
    with pytest.raises(SourceError, match="5 of the first 100 rows of source 'worse'"):
        build(CNLE_SAMPLE, [Rows(*MANY[95:]), Rows(*bad, name="worse")], tmp_path / "out")


def test_a_few_rows_are_too_few_to_judge(tmp_path):
    rows = [*SAMPLE[:80], *[Unreadable("not JSON", "{")] * 10]
    assert reasons(build(CNLE_SAMPLE, [Rows(*rows)], tmp_path / "out")) == {("reading", "not JSON"): 10}


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(ConfigError, match=r"can't be tolerated\. Expected 0 to 1\."):
        Tolerance(share)


def test_long_texts_are_dropped_in_their_beginning(tmp_path):
    long = replace(SAMPLE[0], prompt="a function of one megabyte", target="x" * 1_000_000)
    build(CNLE_SAMPLE, [Rows(*SAMPLE, long)], tmp_path / "out")
    (row,) = storage.read_jsonl(tmp_path / "out" / storage.DROPPED)
    assert (row["reason"], len(row["target"])) == ("target too long", 10_000)


# Shards and the pool


def test_shards_have_a_fixed_number_of_rows_or_a_bounded_number_of_characters():
    rows = [{"text": "x"} for _ in range(25)]
    assert [len(shard) for shard in in_shards(rows, 10)] == [10, 10, 5]
    long = [{"text": "x" * 1_500_000, "number": 1} for _ in range(5)]
    assert [len(shard) for shard in in_shards(long, 10)] == [3, 2]
    assert list(in_shards([], 10)) == []


def test_a_pool_is_the_sequence_of_its_pairs(tmp_path):
    pairs = [*SAMPLE[:20], Pair("sign \ud83d\u2028\n", "t\0", "f", None, Provenance("a", "b", "c", "d"))]
    storage.write_jsonl(tmp_path / "pool.jsonl", map(to_row, pairs))
    for pool in (Pool.open(tmp_path / "pool.jsonl"), Pool((tmp_path / "pool.jsonl").read_bytes())):
        assert list(pool) == pairs
        assert len(pool) == 21
        assert (pool[0], pool[-1], pool[3:5], pool[19:40]) == (pairs[0], pairs[-1], pairs[3:5], pairs[19:])
        for place in (21, -22):
            with pytest.raises(IndexError, match="in a pool of 21"):
                pool[place]
    storage.write_jsonl(tmp_path / "empty.jsonl", [])
    assert list(Pool.open(tmp_path / "empty.jsonl")) == []


def test_a_pair_round_trips_as_json():
    for pair in SAMPLE[:5]:
        assert from_row(json.loads(json.dumps(to_row(pair)))) == pair
