import dataclasses
import json

import datasets
import pyarrow as pa
import pytest

from clmeeval_data.records import BENCHMARKS, CNLE
from clmeeval_data.schema import SCHEMA_VERSION, arrow_schema, extra_columns, features, schema_differences

# The documented form, written out: the definition in the code is derived from the record classes.
STRING, NUMBER = datasets.Value("string"), datasets.Value("float64")
ORIGIN = {
    "provenance": {"source": STRING, "origin": STRING, "group": STRING, "licence": STRING},
    "rephrasing": {"engine": STRING, "model": STRING, "version": STRING},
}
DOCUMENTED = {
    "cnle": {
        "case_id": STRING,
        "intent": STRING,
        "rewritten_intent": STRING,
        "snippet": STRING,
        "neighborhood": datasets.List({"intent": STRING, "snippet": STRING, "similarity": NUMBER}),
        **ORIGIN,
    },
    "csne": {
        "case_id": STRING,
        "func_name": STRING,
        "code": STRING,
        "code_rewrite": STRING,
        "code_doc": STRING,
        "neighborhood": datasets.List({"code": STRING, "code_doc": STRING, "similarity": NUMBER}),
        **ORIGIN,
    },
}

both = pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)


@both
def test_features_are_the_documented_ones(benchmark):
    found = features(benchmark)
    assert found == datasets.Features(DOCUMENTED[benchmark.name])
    assert list(found) == list(DOCUMENTED[benchmark.name])


@both
def test_arrow_schema_equals_what_datasets_makes_of_the_features(benchmark):
    assert arrow_schema(benchmark).equals(features(benchmark).arrow_schema, check_metadata=False)


@both
def test_metadata_carries_the_version_and_the_features(benchmark):
    metadata = arrow_schema(benchmark).metadata
    assert metadata[b"clmeeval_schema"] == SCHEMA_VERSION.encode()
    description = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert datasets.Features.from_dict(description) == features(benchmark)


@both
def test_columns_are_the_fields_of_the_record_in_order(benchmark):
    assert arrow_schema(benchmark).names == [field.name for field in dataclasses.fields(benchmark.record)]


@both
def test_a_schema_does_not_differ_from_itself(benchmark):
    assert schema_differences(benchmark, arrow_schema(benchmark)) == []
    assert extra_columns(benchmark, arrow_schema(benchmark)) == []


def test_differences_name_each_column():
    schema = arrow_schema(CNLE)
    wrong = schema.remove(schema.get_field_index("snippet"))
    wrong = wrong.set(0, pa.field("case_id", pa.int64())).append(pa.field("votes", pa.int32()))
    assert schema_differences(CNLE, wrong) == [
        "column 'case_id' is int64, expected string",
        "column 'snippet' is missing",
    ]
    assert extra_columns(CNLE, wrong) == ["votes"]
