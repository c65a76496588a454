"""What a run says it is: the form of run.json, its hash, its folder's name, and whether all that is likely."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from clmeeval_data.evaluation.report.families import FAMILIES
from clmeeval_data.evaluation.results import slug
from clmeeval_data.evaluation.scoring.dimensions import decoding
from clmeeval_data.evaluation.submission.findings import Fault, shown
from clmeeval_data.evaluation.submission.shapes import Shape, misfits
from clmeeval_data.records import BENCHMARKS, SPLITS
from clmeeval_data.schema import SCHEMA_VERSION

FORMATS = (1, 2)
RUN: Shape = {
    "identity": {
        "format": int,
        "dataset": {"name": str, "split": str, "schema": str, "n": int, "cases": str},
        "model": {"name": str, "fingerprint": str, "dtype": str},
        "method": {"name": str, "config": dict},
        "decoding": {"specificity_tokens": int, "fluency_tokens": int},
        "seed": int,
    },
    "hash": str,
    "environment": {"versions": dict, "device": str},
}
PROTOCOLS: Mapping[str, Shape] = {
    "single": {},
    "batch": {"size": int},
    "sequential": {"size": int, "checkpoints": [int]},
}
DTYPES = ("float64", "float32", "bfloat16", "float16")
DIGITS = {"cases": 12, "fingerprint": 16}
# Whose versions can change a number: the model's side, and the metrics.
VERSIONS = ("clmeeval-data", "python", "torch", "transformers", "sacrebleu", "rouge-score", "rapidfuzz")


def identity_hash(identity: Mapping[str, Any]) -> str:
    """The ten digits that ``RunIdentity.hash`` gives, from an identity as it stands in run.json."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:10]


def form_faults(run: Mapping[str, Any]) -> list[Fault]:
    """Where a run.json has not the form of the results format; nothing else is looked at before this is empty."""
    faults = list(misfits(run, RUN, "run"))
    if faults:
        return faults
    identity = run["identity"]
    if identity["format"] not in FORMATS:
        expected = " or ".join(map(str, FORMATS))
        return [Fault("identity.format is unknown", expected, shown(identity["format"]))]
    protocol = identity.get("protocol", {"name": "single"} if identity["format"] == 1 else None)
    if not isinstance(protocol, Mapping) or protocol.get("name") not in PROTOCOLS:
        named = protocol.get("name") if isinstance(protocol, Mapping) else protocol
        return [Fault("identity.protocol is unknown", ", ".join(PROTOCOLS), shown(named))]
    if identity["dataset"]["name"] not in BENCHMARKS:
        return [Fault("identity.dataset.name is unknown", ", ".join(BENCHMARKS), shown(identity["dataset"]["name"]))]
    return list(misfits(protocol, PROTOCOLS[protocol["name"]], "identity.protocol"))


def content_faults(run: Mapping[str, Any], folder: str) -> Iterator[Fault]:
    """What is wrong with a run.json of the right form that stands in a folder of this name."""
    identity = run["identity"]
    found = identity_hash(identity)
    if run["hash"] != found:
        yield Fault("hash is not that of the identity", shown(found), shown(run["hash"]))
    named = f"{slug(identity['method']['name'])}--{found}"
    if folder != named:
        yield Fault("the folder has not the name of the run", shown(named), shown(folder))
    yield from _dataset_faults(identity["dataset"])
    yield from _model_faults(identity["model"])
    yield from _method_faults(identity["method"])
    yield from _protocol_faults(identity.get("protocol", {}))
    if identity["decoding"] != decoding():
        yield Fault(
            "identity.decoding is not this benchmark's", json.dumps(decoding()), json_shown(identity["decoding"])
        )
    yield from _version_faults(run["environment"]["versions"])


def json_shown(value: Any) -> str:
    """A JSON value as one clipped line."""
    return shown(json.dumps(value, sort_keys=True))


def _dataset_faults(dataset: Mapping[str, Any]) -> Iterator[Fault]:
    if dataset["split"] not in SPLITS:
        yield Fault("identity.dataset.split is unknown", ", ".join(SPLITS), shown(dataset["split"]))
    if dataset["schema"] != SCHEMA_VERSION:
        yield Fault("identity.dataset.schema is another", shown(SCHEMA_VERSION), shown(dataset["schema"]))
    if dataset["n"] < 1:
        yield Fault("identity.dataset.n is impossible", "1 or more", shown(dataset["n"]))
    yield from _digit_faults("dataset.cases", dataset["cases"], DIGITS["cases"])


def _model_faults(model: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _digit_faults("model.fingerprint", model["fingerprint"], DIGITS["fingerprint"])
    if model["dtype"] not in DTYPES:
        yield Fault("identity.model.dtype is unknown", ", ".join(DTYPES), shown(model["dtype"]))
    if not model["name"].strip():
        yield Fault("identity.model.name is empty", "a name", shown(model["name"]))


def _digit_faults(name: str, digits: str, count: int) -> Iterator[Fault]:
    if not re.fullmatch(rf"[0-9a-f]{{{count}}}", digits):
        yield Fault(f"identity.{name} is unlikely", f"{count} hexadecimal digits", shown(digits))


def _method_faults(method: Mapping[str, Any]) -> Iterator[Fault]:
    """A method of ours, or one whose package says its name and version."""
    origins = [method, *(value for value in method.values() if isinstance(value, Mapping))]
    told = any(all(_is_text(origin.get(key)) for key in ("package", "version")) for origin in origins)
    if method["name"] not in FAMILIES and not told:
        expected = f"one of {', '.join(sorted(FAMILIES))}, or a method with the package and version that it comes from"
        yield Fault("identity.method is unknown, and tells no package and version", expected, shown(method["name"]))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() not in ("", "unknown")


def _protocol_faults(protocol: Mapping[str, Any]) -> Iterator[Fault]:
    size, checkpoints = protocol.get("size", 1), protocol.get("checkpoints", [])
    if size < 1:
        yield Fault("identity.protocol.size is impossible", "1 or more", shown(size))
    if protocol.get("name") == "sequential" and (
        checkpoints != sorted(set(checkpoints)) or not checkpoints or checkpoints[0] < 1 or checkpoints[-1] != size
    ):
        expected = f"rising numbers from 1 or more up to the size, {size}"
        yield Fault("identity.protocol.checkpoints are impossible", expected, shown(str(checkpoints)))


def _version_faults(versions: Mapping[str, Any]) -> Iterator[Fault]:
    for package in VERSIONS:
        version = versions.get(package)
        if not isinstance(version, str) or not re.match(r"\d+\.\d", version):
            yield Fault(f"environment.versions has no version of {package}", "a version", shown(version))
