"""Export in the form of the paper's data and import of it: nothing is lost."""

import json
from dataclasses import replace

import pytest

from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.builders.sources import DEFAULT_OPTIONS, Pair, Unreadable, open_source
from clmeeval_data.builders.sources.released import Released, records
from clmeeval_data.export import export_dataset
from clmeeval_data.export.code_llmedit import from_case, to_case
from clmeeval_data.records import CNLE, CSNE, SPLITS, CnleNeighbour, CsneNeighbour, Provenance, Rephrasing
from clmeeval_data.storage import read_split, write_dataset

HARD = "  \ufeffa \u2028 \\ \" ' \t <|endoftext|> {} {x} %s 🥕 \x1b é e\u0301\r\n"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The small CNLE that is built offline."""
    out = tmp_path_factory.mktemp("sample") / "cnle"
    recipe = RECIPES["cnle-sample"]
    build(recipe, [open_source(spec, "cnle", DEFAULT_OPTIONS) for spec in recipe.sources], out, None, 0)
    return out


def edge_cases(splits):
    """The CNLE records, some of them made hard to carry."""
    first, second, third = splits["train"]
    awkward = replace(
        first,
        intent=HARD,
        rewritten_intent=f" {HARD}{HARD} ",
        snippet="x = '''\n  a\n'''\n\n",
        neighborhood=(
            CnleNeighbour(" b ", "\n", 100.0),
            CnleNeighbour(" b ", "other", 100.0),
            CnleNeighbour(HARD, HARD, 0.1 + 0.2),
            CnleNeighbour("c", "c", 5e-324),
        ),
        provenance=Provenance(HARD, "", "g | g", "LicenseRef-unknown"),
        rephrasing=Rephrasing("llm", "a/b:c", "2"),
    )
    unsorted = replace(second, neighborhood=tuple(reversed(second.neighborhood)), case_id="another id")
    return {**splits, "train": [awkward, unsorted, replace(third, neighborhood=())]}


def assert_round_trip(folder, benchmark, out):
    whole = []
    for path in export_dataset(folder, "code-llmedit", out=out):
        found = records(path, benchmark)
        assert (found.unreadable, found.unanswered) == ([], 0)
        whole.append((path.stem, list(found.records)))
    splits = {split: read_split(folder, split) for split in SPLITS}
    assert whole == [*splits.items(), ("all", [record for split in SPLITS for record in splits[split]])]


def test_the_sample_comes_back_as_it_was(sample, tmp_path):
    assert_round_trip(sample, CNLE, tmp_path)


def test_functions_come_back_as_they_were(csne_splits, tmp_path):
    first = csne_splits["test"][0]
    odd = replace(
        first,
        func_name="Outer.<locals>.inner",
        code="print 'Python 2, and no function'",
        neighborhood=(CsneNeighbour(HARD, HARD, 1 / 3),),
    )
    write_dataset(tmp_path / "d", CSNE, {**csne_splits, "test": [odd]}, {})
    assert_round_trip(tmp_path / "d", CSNE, tmp_path / "out")


def test_edge_cases_come_back_as_they_were(cnle_splits, tmp_path):
    splits = edge_cases(cnle_splits)
    write_dataset(tmp_path / "d", CNLE, splits, {})
    assert_round_trip(tmp_path / "d", CNLE, tmp_path / "out")
    assert records(tmp_path / "out" / "EditConala" / "train.json", CNLE).records == splits["train"]


def test_a_second_export_of_what_came_back_gives_the_same_bytes(cnle_splits, tmp_path):
    write_dataset(tmp_path / "d", CNLE, edge_cases(cnle_splits), {})
    first = export_dataset(tmp_path / "d", "code-llmedit", out=tmp_path / "first")
    splits = {path.stem: list(records(path, CNLE).records) for path in first if path.stem != "all"}
    write_dataset(tmp_path / "e", CNLE, splits, {})
    again = export_dataset(tmp_path / "e", "code-llmedit", out=tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]


def test_answers_that_were_put_in_are_passed_over(cnle_records):
    case = to_case(CNLE, cnle_records[0])
    case["neighborhoods"]["answers"]["stable-code-3b"] = ["x", "y"]
    assert from_case(CNLE, json.loads(json.dumps(case))) == cnle_records[0]


def test_an_exported_case_keeps_its_licence_in_a_build(csne_records, tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps([to_case(CSNE, record) for record in csne_records]))
    source = Released(path, "csne")
    for row, record in zip(source.rows(), csne_records, strict=True):
        name, rewrite = record.func_name, record.code_rewrite
        assert list(source.pairs(row)) == [Pair(record.code, record.code_doc, name, rewrite, record.provenance)]


def test_exported_and_released_cases_may_stand_in_one_file(cnle_records, tmp_path):
    first, second = (to_case(CNLE, record) for record in cnle_records[:2])
    del second["clmeeval"]
    path = tmp_path / "all.json"
    path.write_text(json.dumps([second, first]))
    released, exported = records(path, CNLE).records
    assert exported == cnle_records[0]
    assert released.rephrasing == Rephrasing("released", "", "1")
    assert released.provenance.source == "clmeeval-json"
    assert released.intent == cnle_records[1].intent


@pytest.mark.parametrize(
    "damage",
    [
        lambda case: case.update(clmeeval=None),
        lambda case: case.update(clmeeval=[]),
        lambda case: case.pop("case_id"),
        lambda case: case.update(case_id=7),
        lambda case: case["clmeeval"].pop("provenance"),
        lambda case: case["clmeeval"].update(func_name="f"),
        lambda case: case["clmeeval"]["provenance"].update(licence=None),
        lambda case: case["clmeeval"]["provenance"].update(year="2015"),
        lambda case: case["clmeeval"]["neighborhood"].pop(),
        lambda case: case["clmeeval"]["neighborhood"][0].update(similarity="71"),
        lambda case: case["neighborhoods"]["items"].append({"intent": "one more"}),
        lambda case: case["neighborhoods"].update(items=None),
        lambda case: case.update(neighborhoods=[]),
    ],
)
def test_a_damaged_exported_case_is_reported_and_the_others_read(cnle_records, tmp_path, damage):
    cases = [to_case(CNLE, record) for record in cnle_records[:3]]
    damage(cases[1])
    path = tmp_path / "all.json"
    path.write_text(json.dumps(cases))
    found = records(path, CNLE)
    assert found.records == [cnle_records[0], cnle_records[2]]
    (reading,) = found.unreadable
    assert isinstance(reading, Unreadable)
    assert reading.reason.startswith("field 'clmeeval': not a case that was exported from a cnle dataset: ")
