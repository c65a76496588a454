"""Where the shards of a build are worked on: in this process, in worker processes, or on a Ray cluster."""

from clmeeval_data.builders.execution.contract import Executor, Shared
from clmeeval_data.errors import ConfigError
from clmeeval_data.registry import Registry

__all__ = ["EXECUTORS", "Executor", "Shared", "open_executor"]

EXECUTORS: Registry[type[Executor]] = Registry(
    "executor",
    {
        "serial": "clmeeval_data.builders.execution.serial:Serial",
        "processes": "clmeeval_data.builders.execution.processes:Processes",
        "ray": "clmeeval_data.builders.execution.ray:RayCluster",
    },
)


def open_executor(name: str | None = None, jobs: int = 1, address: str | None = None) -> Executor:
    """The executor of that name; None stands for the serial one at one job and for processes at more.

    Nothing is started before the first shard. ``close`` the executor in the end.

    Args:
        name: "serial", "processes" or "ray".
        jobs: How many shards are worked on at a time; a cluster that runs already has its own number.
        address: Of a running Ray cluster; None starts one on this machine.

    Raises:
        UnknownNameError: If there is no such executor.
        ConfigError: If the number of jobs or the address doesn't fit the executor, or Ray is not installed.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs} is too small. Expected at least 1.")
    name = name or ("serial" if jobs == 1 else "processes")
    kind = EXECUTORS[name]
    if address is not None and name != "ray":
        raise ConfigError(f"--address {address} is for Ray, but the executor is {name!r}. Add --executor ray.")
    if name == "serial" and jobs > 1:
        raise ConfigError(f"--executor serial has one job, not {jobs}. Use --executor processes, or no --jobs.")
    return kind(jobs, address)
