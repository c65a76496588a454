"""The line that makes two numbers comparable: equal signatures, equal conditions."""

import json
from collections.abc import Mapping
from typing import Any

SHOWN_DIGITS = 8  # of a hash
OWN_PACKAGE = "clmeeval-data"


def signature(run: Mapping[str, Any]) -> str:
    """All that two runs must share before their numbers may stand in one table, as ``key:value`` joined by ``|``.

    Read from a run.json: data set, split, number and hash of its cases, model, its fingerprint and dtype, decoding,
    seed, protocol, and the version of this package. The method and its configuration are what a table compares, and
    left out.

    Raises:
        KeyError: If the run does not tell one of them.
    """
    identity, versions = run["identity"], run["environment"].get("versions", {})
    dataset, model = identity["dataset"], identity["model"]
    parts = {
        "dataset": dataset["name"],
        "split": dataset["split"],
        "n": dataset["n"],
        "cases": str(dataset["cases"])[:SHOWN_DIGITS],
        "model": model["name"],
        "fp": str(model["fingerprint"])[:SHOWN_DIGITS],
        "dtype": model["dtype"],
        "decoding": _compact(identity["decoding"]),
        "seed": identity["seed"],
        "protocol": _protocol(identity.get("protocol", {"name": "single"})),  # there was no other before format 2
        "version": versions.get(OWN_PACKAGE, "unknown"),
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())


def _protocol(protocol: Mapping[str, Any]) -> str:
    """``single``, ``batch-10`` or ``sequential-20``."""
    return f"{protocol['name']}-{protocol['size']}" if "size" in protocol else str(protocol["name"])


def _compact(settings: Mapping[str, Any]) -> str:
    """All settings in one word: ``greedy`` for a single one, else ``max_tokens=16,strategy=greedy``."""
    words = {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
        for key, value in sorted(settings.items())
    }
    return next(iter(words.values())) if len(words) == 1 else ",".join(f"{key}={word}" for key, word in words.items())
