import dataclasses

import pytest

from clmeeval_data.records import BENCHMARKS, CNLE, CSNE


def test_rows_round_trip(cnle_records, csne_records):
    for benchmark, records in ((CNLE, cnle_records), (CSNE, csne_records)):
        assert [benchmark.from_row(benchmark.to_row(record)) for record in records] == records


def test_a_row_is_plain_and_in_the_order_of_the_record(cnle_records):
    row = CNLE.to_row(cnle_records[0])
    assert list(row) == [field.name for field in dataclasses.fields(CNLE.record)]
    assert isinstance(row["neighborhood"], list)
    assert row["neighborhood"][0] == {
        "intent": "reverse list number 0",
        "snippet": "rows_0.reverse()",
        "similarity": 200 / 3,
    }


def test_case_ids_never_change():
    # a published id must stay: it names cases in results and in papers
    assert CNLE.case_id("reverse a list x", "x[::-1]") == "cnle-5f37d4436905b697"
    assert CSNE.case_id("def f(): pass", "Do nothing.") == "csne-f539a38dbc777fe9"


def test_case_id_depends_on_benchmark_prompt_and_target():
    ids = {
        CNLE.case_id("a", "b"),
        CSNE.case_id("a", "b"),
        CNLE.case_id("b", "a"),
        CNLE.case_id("ab", ""),
        CNLE.case_id("\ud800", "b"),  # a lone surrogate has an id too: validation reports it
    }
    assert len(ids) == 5


def test_a_missing_field_is_a_key_error(cnle_records):
    row = CNLE.to_row(cnle_records[0])
    del row["provenance"]
    with pytest.raises(KeyError, match="provenance"):
        CNLE.from_row(row)


@pytest.mark.parametrize(
    ("name", "expected"), [("cnle", "Intent: sort {x}\nCode:"), ("csne", "Code: sort {x}\nDescription:")]
)
def test_prompts_are_set_into_the_template(name, expected):
    assert BENCHMARKS[name].prompt("sort {x}") == expected


def test_records_are_immutable(csne_records):
    with pytest.raises(dataclasses.FrozenInstanceError):
        csne_records[0].code = ""
