"""One shard after the other, in this process."""

from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from clmeeval_data.builders.execution.contract import LocalFile, Result, Shard


class Serial:
    """Works on each shard when its result is asked for. Takes the arguments of every executor and needs none."""

    def __init__(self, jobs: int = 1, address: str | None = None) -> None:
        pass

    def map(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Generator[Result, None, None]:
        """The function's result for each shard, in their order."""
        for shard in shards:
            yield function(shard)

    def share(self, path: Path) -> LocalFile:
        """The file itself."""
        return LocalFile.at(path)

    def close(self) -> None:
        """End nothing: nothing was started."""
