"""The work folder of a build: every finished shard is one file, so that the same command again does only the rest.

Files appear complete or not at all. A folder is named by the hash of all that decides the result, so that builds of
another recipe, other files or another version of this package never meet.
"""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clmeeval_data import storage
from clmeeval_data.atomic import written_aside
from clmeeval_data.builders.execution import Executor
from clmeeval_data.errors import DatasetError

Shard = TypeVar("Shard")
Row = dict[str, Any]

_IDENTITY = "identity.json"


def work_folder(out: Path) -> Path:
    """Where the work for a dataset is kept unless the user says otherwise: hidden, beside it."""
    return out.resolve().with_name(f".{out.resolve().name}.work")


class Work:
    """The finished shards of one build.

    Args:
        base: The folder that holds the work of builds, a folder each.
        identity: All that decides the result, as JSON values.
    """

    def __init__(self, base: Path, identity: Mapping[str, Any]) -> None:
        self._identity = json.dumps(identity, indent=1, sort_keys=True)
        self.base = base
        self.folder = base / hashlib.sha256(self._identity.encode()).hexdigest()[:16]

    def others(self) -> list[Path]:
        """Unfinished work of other builds in the same base folder."""
        return sorted(path.parent for path in self.base.glob(f"*/{_IDENTITY}") if path.parent != self.folder)

    def whole(self, name: str, rows: Callable[[], Iterable[Mapping[str, Any]]]) -> Path:
        """The file of a step that has one part; its rows are asked for only where it isn't there yet."""
        path = self.folder / f"{name}.jsonl"
        if not path.exists():
            self._write(path, rows())
        return path

    def sharded(
        self, name: str, executor: Executor, function: Callable[[Shard], list[Row]], shards: Iterable[Shard]
    ) -> Iterator[Path]:
        """Run a step over its shards, and give the file of each, in their order, once it is finished.

        Shards whose file is there are drawn, but not worked on again.

        Args:
            name: Of the step.
            executor: Where the function runs. The files are written here.
            function: The rows of a shard's file; depends on the shard alone.
            shards: The same ones in the same order each time.
        """
        drawn: deque[int] = deque()

        def unfinished() -> Iterator[tuple[int, Shard]]:
            for number, shard in enumerate(shards):
                drawn.append(number)
                if not self.shard(name, number).exists():
                    yield number, shard

        with closing(executor.map(_Numbered(function), unfinished())) as results:
            for number, rows in results:
                while drawn[0] != number:
                    yield self.shard(name, drawn.popleft())
                self._write(self.shard(name, number), rows)
                yield self.shard(name, drawn.popleft())
        while drawn:
            yield self.shard(name, drawn.popleft())

    def shard(self, name: str, number: int) -> Path:
        """The file of one shard of a step."""
        return self.folder / name / f"{number:06d}.jsonl"

    def shards(self, name: str) -> list[Path]:
        """The files of all finished shards of a step, in their order."""
        return sorted((self.folder / name).glob("[0-9]*.jsonl"))

    def remove(self) -> None:
        """Delete the work of this build, and the base folder where nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.base.rmdir()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from the same work while the block runs, as far as the system can do that.

        Raises:
            DatasetError: If another process holds it, or the folder can't be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with written_aside(self.folder / _IDENTITY) as aside:
                aside.write_text(self._identity + "\n", encoding="utf-8")
            lock = (self.folder / "lock").open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            try:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:
                pass  # a system without such locks
            except BlockingIOError:
                raise DatasetError(
                    f"another process is building the same dataset in {self.folder}. Wait for it, or stop it."
                ) from None
            yield

    def _write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            storage.write_jsonl(path, rows)
        except DatasetError as error:
            if isinstance(error.__cause__, OSError):
                raise self._unwritable(error.__cause__) from error
            raise

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"cannot write to the work folder {self.folder}: {error.strerror or error}. Make room there and run the "
            "same command again, which goes on from what is finished; or choose another --work, which starts over."
        )


@dataclass(frozen=True)
class _Numbered:
    """The function of a step, for shards that carry their number."""

    function: Callable[[Any], list[Row]]

    def __call__(self, numbered: tuple[int, Any]) -> tuple[int, list[Row]]:
        number, shard = numbered
        return number, self.function(shard)
