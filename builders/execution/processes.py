"""Shards in worker processes on this machine.

Workers are started afresh rather than forked, so that they share nothing but what they are sent. Each holds the reading
end of a pipe on which nothing is ever written: once the other end is closed, on purpose or because this process died in
whatever way, all workers exit at once.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from clmeeval_data.builders.execution.contract import LocalFile, Result, Shard
from clmeeval_data.errors import DatasetError

_WAITING_PER_JOB = 2  # shards drawn for each worker: the one under way, and the next


class Processes:
    """Works on ``jobs`` shards at a time."""

    def __init__(self, jobs: int, address: str | None = None) -> None:
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: tuple[Connection, Connection] | None = None

    def map(self, function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Generator[Result, None, None]:
        """The function's result for each shard, in their order."""
        waiting: deque[Future[Result]] = deque()
        finished = False
        try:
            for shard in shards:
                waiting.append(self._started().submit(function, shard))
                if len(waiting) >= _WAITING_PER_JOB * self._jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            finished = True
        except BrokenProcessPool:
            raise DatasetError(
                f"a worker process died, as happens when the memory runs out (--jobs {self._jobs}). What is finished "
                "is kept: run the same command again, with fewer --jobs if it is the memory."
            ) from None
        finally:
            if not finished:
                self._abandon()

    def share(self, path: Path) -> LocalFile:
        """The file itself."""
        return LocalFile.at(path)

    def close(self) -> None:
        """End the workers once they are done with their shards."""
        if self._pool is not None:
            self._pool.shutdown()
        self._cut()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = get_context("spawn")
            self._lifeline = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self._jobs, mp_context=context, initializer=_stay, initargs=(self._lifeline[0],)
            )
        return self._pool

    def _abandon(self) -> None:
        """End the workers in the middle of their shards."""
        pool = self._pool
        self._cut()
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _cut(self) -> None:
        for end in reversed(self._lifeline or ()):
            end.close()
        self._pool = self._lifeline = None


def _stay(lifeline: Connection) -> None:
    """Run in each worker first: Ctrl-C is the business of the main process, whose end is the end of the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after, args=(lifeline,), daemon=True).start()


def _exit_after(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)
