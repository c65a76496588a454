"""The columns of a dataset, derived from the record classes: as a pyarrow schema and as ``datasets.Features``.

The record classes are the one definition. They are described once, in the JSON form that ``datasets`` keeps in parquet
files, and both schemas are read off that description.
"""

import dataclasses
import json
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from clmeeval_data.records import Benchmark

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

SCHEMA_VERSION = "1.0"
VERSION_KEY = b"clmeeval_schema"
_DTYPES = {str: "string", float: "float64"}


def features(benchmark: Benchmark[Any]) -> "datasets.Features":
    """The features that ``load_dataset`` returns for a benchmark."""
    import datasets

    return datasets.Features.from_dict(_describe(benchmark.record))


def arrow_schema(benchmark: Benchmark[Any]) -> "pa.Schema":
    """The columns of a benchmark's parquet files, in the order of the record's fields.

    Its metadata carries the schema's version and the features as ``datasets`` reads them.
    """
    import pyarrow as pa

    description = _describe(benchmark.record)
    metadata = {
        VERSION_KEY: SCHEMA_VERSION.encode(),
        b"huggingface": json.dumps({"info": {"features": description}}).encode(),
    }
    return pa.schema([pa.field(name, _arrow_type(item)) for name, item in description.items()], metadata=metadata)


def schema_differences(benchmark: Benchmark[Any], found: "pa.Schema") -> list[str]:
    """What keeps rows of another schema from being read as records: missing columns, and columns of another type."""
    differences = []
    for field in arrow_schema(benchmark):
        if field.name not in found.names:
            differences.append(f"column {field.name!r} is missing")
        elif found.field(field.name).type != field.type:
            differences.append(f"column {field.name!r} is {found.field(field.name).type}, expected {field.type}")
    return differences


def extra_columns(benchmark: Benchmark[Any], found: "pa.Schema") -> list[str]:
    """The columns that records of a benchmark do not have."""
    known = {field.name for field in dataclasses.fields(benchmark.record)}
    return [name for name in found.names if name not in known]


def _describe(kind: object) -> dict[str, Any]:
    """A field's type in the JSON form of ``datasets``: a value, a list of something, or named fields."""
    if kind in _DTYPES:
        return {"dtype": _DTYPES[kind], "_type": "Value"}
    if get_origin(kind) is tuple:
        return {"feature": _describe(get_args(kind)[0]), "_type": "List"}
    return {name: _describe(inner) for name, inner in get_type_hints(kind).items()}


def _arrow_type(description: dict[str, Any]) -> "pa.DataType":
    import pyarrow as pa

    match description.get("_type"):
        case "Value":
            return pa.float64() if description["dtype"] == "float64" else pa.string()
        case "List":
            return pa.list_(_arrow_type(description["feature"]))
        case _:
            return pa.struct([pa.field(name, _arrow_type(inner)) for name, inner in description.items()])
