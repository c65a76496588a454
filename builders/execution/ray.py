"""Shards as tasks on a Ray cluster, for builds past one machine.

The workers read nothing from this machine's disk and write nothing to it: shards, results and shared files travel
through Ray's object store. Every node needs this package, in the same version, and its libraries.

Source: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018 (arXiv 1712.05889).
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clmeeval_data.builders.execution.contract import Result, Shard
from clmeeval_data.errors import DatasetError
from clmeeval_data.ray_cluster import WorkerLost, connect, imported_ray, result_of

_WAITING_PER_CORE = 2


@dataclass(frozen=True)
class StoredFile:
    """The content of a file in the cluster's object store; a worker fetches it when it is read."""

    reference: Any = field(compare=False)
    digest: str

    def read(self) -> bytes:
        """The content of the file."""
        content: bytes = imported_ray().get(self.reference)
        return content


class RayCluster:
    """Runs each shard as a Ray task.

    Args:
        jobs: Cores of the cluster that is started on this machine where no address is given.
        address: "HOST:PORT" of a running cluster, or "auto" for the one that this machine is a node of.

    Raises:
        ConfigError: If Ray is not installed.
    """

    def __init__(self, jobs: int = 1, address: str | None = None) -> None:
        imported_ray()
        self._jobs = jobs
        self._address = address
        self._connected = False

    def map(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Generator[Result, None, None]:
        """The function's result for each shard, in their order.

        Raises:
            ConfigError: If there is no cluster at the address.
            DatasetError: If a worker died.
        """
        self._connect()
        ray = imported_ray()
        run = ray.remote(_run)
        sent = ray.put(function)
        at_once = _WAITING_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        try:
            for shard in shards:
                waiting.append(run.remote(sent, shard))
                if len(waiting) >= at_once:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)

    def share(self, path: Path) -> StoredFile:
        """The content of the file in the object store."""
        self._connect()
        content = path.read_bytes()
        return StoredFile(imported_ray().put(content), hashlib.sha256(content).hexdigest())

    def close(self) -> None:
        """Leave the cluster; one that was started here ends. A connection that was there before stays."""
        if self._connected:
            imported_ray().shutdown()
            self._connected = False

    def _connect(self) -> None:
        self._connected = connect(self._address, self._jobs) or self._connected


def _run(function: Callable[[Shard], Result], shard: Shard) -> Result:
    return function(shard)


def _result(reference: Any) -> Any:
    """What a task gave, or the error that it raised."""
    try:
        return result_of(reference)
    except WorkerLost as error:
        raise DatasetError(str(error)) from error
