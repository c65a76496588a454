"""Shards as tasks on a Ray cluster, for builds past one machine.

The workers read nothing from this machine's disk and write nothing to it: shards, results and shared files travel
through Ray's object store. Every node needs this package, in the same version, and its libraries.

Source: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018 (arXiv 1712.05889).
"""

import hashlib
import logging
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clmeeval_data.builders.execution.contract import Result, Shard
from clmeeval_data.errors import ConfigError, DatasetError

_WAITING_PER_CORE = 2
_SECONDS_TO_CONNECT = 10


@dataclass(frozen=True)
class StoredFile:
    """The content of a file in the cluster's object store; a worker fetches it when it is read."""

    reference: Any = field(compare=False)
    digest: str

    def read(self) -> bytes:
        """The content of the file."""
        content: bytes = _ray().get(self.reference)
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
        _ray()
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
        ray = _ray()
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
        return StoredFile(_ray().put(content), hashlib.sha256(content).hexdigest())

    def close(self) -> None:
        """Leave the cluster; one that was started here ends. A connection that was there before stays."""
        if self._connected:
            _ray().shutdown()
            self._connected = False

    def _connect(self) -> None:
        ray = _ray()
        if ray.is_initialized():
            return
        if self._address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours reports to nobody
        else:
            _check_reachable(self._address)
        own = {"address": "local", "num_cpus": self._jobs}
        place = own if self._address is None else {"address": self._address}
        try:
            ray.init(**place, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise ConfigError(_no_cluster(self._address, error)) from error
        self._connected = True


def _run(function: Callable[[Shard], Result], shard: Shard) -> Result:
    return function(shard)


def _result(reference: Any) -> Any:
    """What a task gave, or the error that it raised, as if it had been raised here."""
    ray = _ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DatasetError(
            f"a task on the Ray cluster was lost ({reason}). What is finished is kept: run the same command again."
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"--executor ray needs Ray, which can't be imported ({error}). "
            "Install it: pip install 'clmeeval-data[ray]'."
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Someone listens at the address: Ray itself would try for five minutes and then end this process."""
    place = re.fullmatch(r"(.+):(\d+)", address.removeprefix("ray://"))
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(_no_cluster(address, error)) from error


def _no_cluster(address: str | None, error: Exception) -> str:
    where = "on this machine" if address is None else f"at --address {address}"
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    return (
        f"no Ray cluster {where} ({reason}). Expected HOST:PORT of a running one ('ray start --head' prints it), "
        "'auto', or no --address to start one here."
    )
