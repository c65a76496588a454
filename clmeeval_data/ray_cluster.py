"""Joining a Ray cluster, or starting one on this machine, and what goes wrong there in one line.

Ray is imported when a cluster is first asked for: it is an extra.
"""

import logging
import os
import re
import socket
from typing import Any

from clmeeval_data.errors import ClmeevalError, ConfigError

_SECONDS_TO_CONNECT = 10


class WorkerLost(ClmeevalError):  # noqa: N818 - what to make of it is for the caller to say
    """A process of the cluster died before it had given a result."""


def imported_ray() -> Any:
    """The library.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"--executor ray needs Ray, which can't be imported ({error}). "
            "Install it: pip install 'clmeeval-data[ray]'."
        ) from error
    return ray


def connect(address: str | None, cores: int) -> bool:
    """Join a cluster; whether it was done now, so that whoever did it leaves it again.

    Args:
        address: "HOST:PORT" of a running cluster, or "auto"; None starts one on this machine.
        cores: Of the cluster that is started here.

    Raises:
        ConfigError: If Ray is not installed, or there is no cluster.
    """
    ray = imported_ray()
    if ray.is_initialized():
        return False
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours reports to nobody
    else:
        _check_reachable(address)
    place = {"address": "local", "num_cpus": cores} if address is None else {"address": address}
    try:
        ray.init(**place, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(_no_cluster(address, error)) from error
    return True


def result_of(reference: Any) -> Any:
    """What a call gave, or the error that it raised, as if it had been raised here.

    Raises:
        WorkerLost: If its process died.
    """
    ray = imported_ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except ray.exceptions.RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise WorkerLost(
            f"a task on the Ray cluster was lost ({reason}). What is finished is kept: run the same command again."
        ) from error


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
