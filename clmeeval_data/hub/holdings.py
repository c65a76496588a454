"""What a repository of a benchmark holds already: its configurations, told by their manifests."""

import json
from collections.abc import Iterable
from typing import Any

from clmeeval_data import storage
from clmeeval_data.errors import PublishError
from clmeeval_data.hub.loading import DEFAULT
from clmeeval_data.hub.publishing import CARD, MADE_BY_THE_HUB
from clmeeval_data.hub.remote import Remote, State
from clmeeval_data.records import Benchmark
from clmeeval_data.schema import SCHEMA_VERSION


def prefix_of(config: str) -> str:
    """What the paths of a configuration in a repository begin with."""
    return "" if config == DEFAULT else f"{config}/"


def configs_among(paths: Iterable[str]) -> list[str]:
    """The configurations that a repository holds."""
    found = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name == storage.MANIFEST and "/" not in folder:
            found.add(folder or DEFAULT)
    return sorted(found)


def other_cards(config: str, remote: Remote, held: State) -> dict[str, str]:
    """The cards of the other configurations that the repository holds."""
    cards = {}
    for other in configs_among(held.files):
        path = f"{prefix_of(other)}{CARD}"
        if other != config and path in held.files:
            cards[other] = remote.read(path, held.commit).decode("utf-8", "replace")
    return cards


def check_benchmark(benchmark: Benchmark[Any], published: str, remote: Remote, held: State) -> None:
    """The repository is empty, or holds configurations of the same benchmark in the same schema version.

    Args:
        benchmark: Which one.
        published: What is to be published, for the message.
        remote: The repository.
        held: What it holds.

    Raises:
        PublishError: If it holds something else.
    """
    paths = set(held.files) - MADE_BY_THE_HUB
    configs = configs_among(paths)
    script = f"{remote.name.rpartition('/')[2]}.py"
    if paths and (not configs or script in paths):
        found = script if script in paths else min(paths)
        raise PublishError(
            f"{remote.name} holds something else than a dataset of ours ({found}); it was left as it is. "
            "Choose another name, or remove its files first."
        )
    for config in configs:
        _check_manifest(benchmark, published, remote, held, f"{prefix_of(config)}{storage.MANIFEST}")


def _check_manifest(benchmark: Benchmark[Any], published: str, remote: Remote, held: State, path: str) -> None:
    try:
        manifest = json.loads(remote.read(path, held.commit))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise PublishError(f"{path} of {remote.name} is not JSON of ours; it was left as it is. Choose another name.")
    found, version = manifest.get("benchmark"), manifest.get("schema_version")
    if found != benchmark.name:
        raise PublishError(
            f"{remote.name} holds the benchmark {found!r}, {published} holds {benchmark.name!r}; it was left as it "
            "is. Choose another name."
        )
    if version != SCHEMA_VERSION:
        raise PublishError(
            f"{remote.name} holds a release of schema version {version!r}, {published} is of {SCHEMA_VERSION!r}; "
            "it was left as it is. Choose another name, or publish with the version of clmeeval-data that wrote it."
        )
