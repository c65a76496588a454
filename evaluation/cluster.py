"""Where runs are computed: all methods on all datasets one after another, with one model loaded once.

Here, or on the workers of a Ray cluster, each of which has loaded the model; the files are written here in any case.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from clmeeval_data.evaluation.answers import AnswersFile, Found, case_key
from clmeeval_data.evaluation.batch_size import DEFAULT_SIZE
from clmeeval_data.evaluation.editors.contract import Case, Track, untracked
from clmeeval_data.evaluation.execution.ray import RayWorkers
from clmeeval_data.evaluation.model.lm import load_language_model
from clmeeval_data.evaluation.plan import Compat, Plan, make_editor, make_editors, read_tests
from clmeeval_data.evaluation.protocols.units import Piece, Task
from clmeeval_data.evaluation.protocols.worker import Worker
from clmeeval_data.evaluation.published_answers import find_published, take_over
from clmeeval_data.evaluation.recorder import Described, Recorder
from clmeeval_data.evaluation.results import RunFolder
from clmeeval_data.evaluation.runner import TestSet, describe, run_methods
from clmeeval_data.records import targets_are_code

__all__ = ["Compat", "LoadedPlan", "Observer", "Plan", "execute", "make_editor", "read_tests"]

T = TypeVar("T")


class Observer(Protocol):
    """Is told how a plan advances."""

    def begin(self, dataset: str, method: str, cases: int) -> None:
        """A method is about to run on a dataset."""

    def advance(self, method: str, cases: int) -> None:
        """A method has finished cases of the dataset it was last begun on, now or in an earlier run."""

    def track(self, steps: Iterable[T], description: str, total: int) -> Iterable[T]:
        """Something that takes long and is not a case: yields its steps."""


def execute(plan: Plan, observer: Observer) -> list[RunFolder]:
    """Run a plan; what is complete is not run again.

    Raises:
        ClmeevalError: If a dataset, the model, a method or the results folder cannot be used.
    """
    plan = plan.pinned()
    if plan.executor == "ray":
        return _execute_on_ray(plan, observer)
    tests = {location: _tests_of(plan, location) for location in plan.datasets}
    lm = load_language_model(plan.model, plan.device, plan.dtype)
    folders = []
    for location, dataset in tests.items():
        editors = make_editors(plan, lm)
        file = AnswersFile(plan.out, dataset.benchmark.name, lm.identity)
        taken = take_over(file, location, plan.split, dataset.cases, lm, plan.revision_of(location))
        for method in plan.methods:
            observer.begin(dataset.benchmark.name, method, len(dataset.cases))
        folders += run_methods(
            lm,
            dataset,
            editors,
            plan.out,
            seed=plan.seed,
            batch_size=plan.batch_size,
            protocol=plan.protocol,
            shard=plan.shard,
            environment={
                method: {**plan.environment(location, method), "unedited_answers": taken} for method in plan.methods
            },
            progress=observer.advance,
            track=observer.track,
        )
    return folders


def _tests_of(plan: Plan, location: str) -> TestSet:
    return read_tests(location, plan.split, plan.limit, plan.revision_of(location))


class LoadedPlan:
    """A plan in a process of its own: the model, loaded, and the methods for every dataset."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tests = [_tests_of(plan, location) for location in plan.datasets]
        self._lm = lm = load_language_model(plan.model, plan.device, plan.dtype)
        self._workers = [
            Worker(
                lm,
                make_editors(plan, lm),
                plan.protocol,
                targets_are_code(tests.benchmark.name),
                plan.seed,
                plan.batch_size or DEFAULT_SIZE,
            )
            for tests in self._tests
        ]

    def described(self, dataset: int) -> Sequence[Described]:
        """What the run of each method on a dataset, by its index, is."""
        plan, location = self._plan, self._plan.datasets[dataset]
        environment = {method: plan.environment(location, method) for method in plan.methods}
        return describe(self._workers[dataset], self._tests[dataset], environment)

    def published(self, dataset: int, cases: Sequence[Case]) -> Found:
        """The unedited answers to cases that somebody has published."""
        plan, location = self._plan, self._plan.datasets[dataset]
        return find_published(location, plan.split, cases, self._lm, plan.revision_of(location))

    def prepare(self, dataset: int, methods: Sequence[int], track: Track = untracked) -> None:
        """Let methods do for a dataset what does not depend on its cases."""
        self._workers[dataset].prepare(methods, self._tests[dataset].train, track)

    def compute(self, dataset: int, task: Task) -> Iterator[Piece]:
        """The pieces of a task's result."""
        return self._workers[dataset].compute(task)


def _execute_on_ray(plan: Plan, observer: Observer) -> list[RunFolder]:
    """The plan with its units on a Ray cluster; all files are written here."""
    tests = [_tests_of(plan, location) for location in plan.datasets]
    folders = []
    on_gpu, size = plan.device.startswith("cuda"), plan.batch_size or DEFAULT_SIZE
    with RayWorkers(partial(LoadedPlan, plan), gpu=on_gpu, address=plan.address, workers=plan.workers) as workers:
        for index, dataset in enumerate(tests):
            name, cases = dataset.benchmark.name, dataset.cases
            for method in plan.methods:
                observer.begin(name, method, len(cases))
            described = _with_answers(plan, workers, index, dataset)
            recorder = Recorder(plan.out, name, cases, described, plan.protocol, size, plan.shard, observer.advance)
            with recorder:
                if recorder.open_methods:
                    workers.prepare(index, recorder.open_methods)
                for unit, piece in workers.compute(index, recorder):
                    recorder.write(unit, piece)
                folders += recorder.finish()
    return folders


def _with_answers(plan: Plan, workers: RayWorkers, index: int, dataset: TestSet) -> list[Described]:
    """What the runs on a dataset are, once published answers to its cases have been taken over."""
    described = workers.described(index)
    file = AnswersFile(plan.out, dataset.benchmark.name, described[0].identity.model)
    known = file.known(dataset.cases)
    found = workers.published(index, [case for case in dataset.cases if case_key(case) not in known])
    file.add(found.answers, found.origins)
    unedited = {"unedited_answers": file.origins(dataset.cases)}
    return [replace(one, environment={**one.environment, **unedited}) for one in described]
