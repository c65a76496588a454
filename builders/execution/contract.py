"""What an executor is."""

import hashlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Shared(Protocol):
    """The content of one file, in reach of every worker: a small picklable value that equals others of its digest."""

    @property
    def digest(self) -> str:
        """The sha256 of the content."""

    def __hash__(self) -> int:
        """That of the digest."""

    def read(self) -> bytes:
        """The content of the file."""


class Executor(Protocol):
    """Works on shards somewhere. Functions and shards are plain values that can be pickled.

    ``jobs`` shards are worked on at a time. An executor starts what it needs with its first shard, may be used for one
    ``map`` after the other, and is closed in the end.
    """

    def __init__(self, jobs: int, address: str | None) -> None: ...

    def map(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Generator[Result, None, None]:
        """The function's result for each shard, in the order of the shards.

        Shards are drawn as workers become free, so that only a bounded number is held. The first error, of a worker or
        of the shards, is raised, and the work that is under way then stops. The same holds when the iterator is closed.

        Raises:
            DatasetError: If a worker died.
        """

    def share(self, path: Path) -> Shared:
        """Put the content of a file in reach of all workers.

        Raises:
            OSError: If the file can't be read.
        """

    def close(self) -> None:
        """End all workers. Closing twice is allowed, and a closed executor starts anew when it is used again."""


@dataclass(frozen=True)
class LocalFile:
    """A file that all workers can open: they are on this machine."""

    path: Path = field(compare=False)
    digest: str

    @classmethod
    def at(cls, path: Path) -> "LocalFile":
        """The file with the sha256 of its content."""
        with path.open("rb") as file:
            return cls(path.resolve(), hashlib.file_digest(file, "sha256").hexdigest())

    def read(self) -> bytes:
        """The content of the file."""
        return self.path.read_bytes()
