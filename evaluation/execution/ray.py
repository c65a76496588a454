"""Units of a run on a Ray cluster: each worker loads the model once, and units go to whichever is free.

A worker writes nothing. Where one is lost, another takes its place and its unit is computed anew, of a sequence what
came after its last state. Every node needs this package in the same version, the model, and the dataset.

Source: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018 (arXiv 1712.05889).
"""

import logging
import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.answers import Found
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.execution import Workplace
from clmeeval_data.evaluation.protocols.state import on_cpu
from clmeeval_data.evaluation.protocols.units import Piece, Task, Unit
from clmeeval_data.evaluation.recorder import Described, Recorder
from clmeeval_data.ray_cluster import WorkerLost, connect, imported_ray, result_of

LOST_AT_MOST = 3  # workers that one unit may take with it before the run stops

logger = logging.getLogger(__name__)
Factory = Callable[[], Workplace]


@dataclass(frozen=True)
class _Hired:
    """A worker: its handle, and its process."""

    handle: Any
    where: str
    pid: int


class RayWorkers:
    """Workers on a cluster, as a context manager.

    Args:
        factory: Loads the model and the methods, in the worker's process. It is sent by pickling.
        gpu: Whether each worker needs a GPU of its own.
        address: "HOST:PORT" of a running cluster, or "auto"; None starts one on this machine.
        workers: How many; None for one per GPU, or one where none is needed.

    Raises:
        ConfigError: If Ray is not installed, there is no cluster, or it has no room for the workers.
    """

    def __init__(self, factory: Factory, *, gpu: bool, address: str | None = None, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"--workers {workers} is too small. Expected at least 1.")
        imported_ray()
        self._factory, self._gpu, self._address, self._wanted = factory, gpu, address, workers
        self._workers: list[_Hired] = []
        self._prepared: tuple[int, tuple[int, ...]] | None = None
        self._connected = False

    def __enter__(self) -> "RayWorkers":
        try:
            self._connect()
            first = self._hire()  # what is cached on disk is made once, and read by the others
            self._workers = [first, *self._hire_more(self._count() - 1)]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        ray = imported_ray()
        for worker in self._workers:
            with suppress(Exception):  # it may be gone already
                ray.kill(worker.handle)
        self._workers = []
        if self._connected:
            ray.shutdown()
            self._connected = False

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker.pid for worker in self._workers]

    def described(self, dataset: int) -> list[Described]:
        """What the run of each method on a dataset is.

        Raises:
            ResultsError: If the workers do not agree, because they have other models or other data.
        """
        found = [result_of(worker.handle.described.remote(dataset)) for worker in self._workers]
        for worker, theirs in zip(self._workers, found, strict=True):
            if [one.identity for one in theirs] != [one.identity for one in found[0]]:
                raise ResultsError(
                    f"the workers on {self._workers[0].where} and {worker.where} have different models, data or "
                    "settings. Give every node the same."
                )
        first: list[Described] = found[0]
        return first

    def published(self, dataset: int, cases: Sequence[Case]) -> Found:
        """The unedited answers to cases that somebody has published."""
        found: Found = result_of(self._workers[0].handle.published.remote(dataset, cases))
        return found

    def prepare(self, dataset: int, methods: Sequence[int]) -> None:
        """Let all workers prepare methods; the first one alone at first, so that the others find what it has cached."""
        self._prepared = dataset, tuple(methods)
        first, *others = [worker.handle for worker in self._workers]
        result_of(first.prepare.remote(*self._prepared))
        for reference in [handle.prepare.remote(*self._prepared) for handle in others]:
            result_of(reference)

    def compute(self, dataset: int, recorder: Recorder) -> Iterator[tuple[Unit, Piece]]:
        """All pieces of the recorder's tasks, as they come; the caller writes each before it asks for the next one.

        Raises:
            ResultsError: If a unit takes one worker after the other with it.
        """
        tasks, again = recorder.tasks(), deque[Task]()
        free, busy = deque(self._workers), dict[Any, tuple[_Hired, Task]]()
        hiring, lost = dict[Any, tuple[Any, Any]](), Counter[tuple[int, ...]]()
        while True:
            while free and (task := again.popleft() if again else next(tasks, None)) is not None:
                worker = free.popleft()
                busy[worker.handle.compute.remote(dataset, task)] = worker, task
            if not busy and not again:
                return
            (done, *_), _ = imported_ray().wait([*busy, *hiring], num_returns=1)
            if done in hiring:
                free.append(self._arrived(done, *hiring.pop(done)))
                continue
            worker, task = busy.pop(done)
            try:
                pieces = result_of(done)
            except WorkerLost as error:
                logger.warning("worker %d on %s: %s", worker.pid, worker.where, error)
                _count_lost(lost, task, error)
                again.append(task)
                self._workers.remove(worker)
                ready, hired = self._hiring()
                hiring[ready] = hired
                continue
            free.append(worker)
            for piece in pieces:
                if piece.state is not None:
                    again.append(replace(task, state=piece.state, known={**task.known, **piece.answers}))
                yield task.unit, piece

    def _hiring(self) -> tuple[Any, tuple[Any, Any]]:
        """Another worker in the place of a lost one: what tells that it is prepared, its handle, and where it is.

        The others work on meanwhile, since the cluster may have no room for it until a node comes back.
        """
        handle = self._handles(1)[0]
        opened = handle.open.remote()
        dataset, methods = self._prepared or (0, ())
        return handle.prepare.remote(dataset, methods), (handle, opened)

    def _arrived(self, ready: Any, handle: Any, opened: Any) -> _Hired:
        worker = _Hired(handle, *result_of(opened))
        result_of(ready)
        self._workers.append(worker)
        return worker

    def _hire(self) -> _Hired:
        return self._hire_more(1)[0]

    def _hire_more(self, count: int) -> list[_Hired]:
        handles = self._handles(count)
        opened = [handle.open.remote() for handle in handles]
        return [_Hired(handle, *result_of(reference)) for handle, reference in zip(handles, opened, strict=True)]

    def _handles(self, count: int) -> list[Any]:
        kind = imported_ray().remote(num_cpus=1, num_gpus=1 if self._gpu else 0, max_restarts=0)(_Actor)
        return [kind.remote(self._factory, self._threads()) for _ in range(count)]

    def _count(self) -> int:
        resources = imported_ray().cluster_resources()
        kind = "GPU" if self._gpu else "CPU"
        there = int(resources.get(kind, 0))
        count = self._wanted or (max(1, there) if self._gpu else 1)
        if count > there:
            raise ConfigError(
                f"the cluster has {there} {kind}s, too few for {count} workers. Start more nodes, or give fewer "
                "--workers."
            )
        return count

    def _threads(self) -> int | None:
        """Threads of a worker: its share of this machine, unless something else was asked for or it runs elsewhere."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        if asked.isdigit():
            return int(asked)
        return None if self._address is not None else max(1, (os.cpu_count() or 1) // (self._wanted or 1))

    def _connect(self) -> None:
        self._connected = connect(self._address, max(self._wanted or 1, os.cpu_count() or 1))
        self._count()  # refuses before a model is loaded


class _Actor:
    """A worker's process. The model is loaded by ``open``, so that what is wrong with it arrives as it is."""

    def __init__(self, factory: Factory, threads: int | None) -> None:
        self._factory, self._threads = factory, threads
        self._place: Workplace | None = None

    def open(self) -> tuple[str, int]:
        """Load the model; where the worker is, and its process."""
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
        self._place = self._factory()
        return socket.gethostname(), os.getpid()

    def described(self, dataset: int) -> Sequence[Described]:
        """See ``Workplace``."""
        return self._opened.described(dataset)

    def published(self, dataset: int, cases: Sequence[Case]) -> Found:
        """See ``Workplace``."""
        return self._opened.published(dataset, cases)

    def prepare(self, dataset: int, methods: Sequence[int]) -> None:
        """See ``Workplace``."""
        self._opened.prepare(dataset, methods)

    def compute(self, dataset: int, task: Task) -> list[Piece]:
        """The pieces of a task up to its end, or to the next state of a sequence."""
        found = []
        for piece in self._opened.compute(dataset, task):
            found.append(piece if piece.state is None else replace(piece, state=on_cpu(piece.state)))
            if piece.state is not None:
                break
        return found

    @property
    def _opened(self) -> Workplace:
        if self._place is None:
            raise ConfigError("the worker has no model yet: call open first.")
        return self._place


def _count_lost(lost: Counter[tuple[int, ...]], task: Task, error: WorkerLost) -> None:
    """Note that a task has lost its worker.

    Raises:
        ResultsError: If it is to blame for it.
    """
    key = (task.unit.index, *task.wanted)
    lost[key] += 1
    if lost[key] >= LOST_AT_MOST:
        raise ResultsError(
            f"unit {task.unit.index} has taken {LOST_AT_MOST} workers with it, the last time: {error} "
            "Give the workers more memory, or a smaller --batch-size."
        )
