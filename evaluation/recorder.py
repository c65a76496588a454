"""The writing side of a run: journals, states of sequences, unedited answers, summaries. It computes nothing.

One process writes a journal at a time. What is in a journal is on disk; the same run again goes on from there.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.answers import AnswersFile
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.merge import complete
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.protocols.state import SavedStates
from clmeeval_data.evaluation.protocols.units import Piece, Task, Unit, units_of
from clmeeval_data.evaluation.results import RunFolder, RunIdentity, write_json
from clmeeval_data.journal import Journal

Progress = Callable[[str, int], None]  # (method, cases)


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of a run: units ``index``, ``index + count``, ...; counted from 0."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard of an option's value, such as ``0/4``.

        Raises:
            ConfigError: If it is none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if match is None or int(match[1]) >= int(match[2]):
            raise ConfigError(f"--shards is {text!r}; expected i/n with i from 0 to n - 1, such as 0/4.")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Described:
    """What run.json says of a run."""

    identity: RunIdentity
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class _Run:
    """One method's run: its folder, the journal that is written here, and the ids that are finished anywhere."""

    name: str
    folder: RunFolder
    journal: Journal
    done: set[str]
    complete: bool

    @property
    def states(self) -> SavedStates:
        return SavedStates(self.folder.path / "states")


@dataclass
class Recorder:
    """Runs of several methods on the same cases, as a context manager: inside the block nobody else writes them.

    ``out``: the results folder. ``dataset``: name of the dataset. ``cases``: of the run. ``described``: per method what
    its run is. ``batch_size``: of the units. ``shard``: which part is computed here; None for all of it. ``progress``:
    told the number of a method's cases that were finished, or edited in a sequence, since it was last told.

    Raises:
        ResultsError: If a folder cannot be written, belongs to another run, or is being written by another process.
    """

    out: Path
    dataset: str
    cases: Sequence[Case]
    described: Sequence[Described]
    protocol: EvaluationProtocol
    batch_size: int
    shard: Shard | None = None
    progress: Progress = lambda method, cases: None
    _runs: list[_Run] = field(default_factory=list, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _answers: AnswersFile | None = field(default=None, init=False)
    _shown: dict[tuple[int, int], int] = field(
        default_factory=dict, init=False
    )  # of a sequence that is not written yet

    def __enter__(self) -> "Recorder":
        with ExitStack() as stack:
            for one in self.described:
                self._runs.append(self._opened(one, stack))
            if self.open_methods:
                self._answers = AnswersFile(self.out, self.dataset, self.described[0].identity.model)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def open_methods(self) -> list[int]:
        """The methods, by index, whose runs lack a case that is computed here."""
        return [index for index, run in enumerate(self._runs) if any(self._missing(run, unit) for unit in self._units)]

    def settle(self, batch_size: int) -> None:
        """Take another batch size than the one that was announced, and note it in the open runs' run.json.

        Raises:
            ResultsError: If it cannot be written.
        """
        self.batch_size = batch_size
        for method in self.open_methods:
            folder = self._runs[method].folder
            described = folder.run()
            described["environment"]["batch_size"] = batch_size
            write_json(folder.path / "run.json", described)

    def tasks(self) -> Iterator[Task]:
        """What is left to compute here; each task knows what was known when it was drawn."""
        for unit in self._units:
            wanted = {index: self._missing(run, unit) for index, run in enumerate(self._runs)}
            wanted = {index: ids for index, ids in wanted.items() if ids}
            parts = [wanted] if self.protocol.name == "single" else [{index: ids} for index, ids in wanted.items()]
            for part in parts:
                if part:
                    yield self.task(unit, part)

    def task(self, unit: Unit, wanted: Mapping[int, frozenset[str]]) -> Task:
        """A unit as a task, with what is known now: unedited answers, and the state of a sequence."""
        known = self._answers.known(unit.cases) if self._answers is not None else {}
        sequential = self.protocol.name == "sequential"
        state = self._runs[next(iter(wanted))].states.load(unit.index) if sequential else None
        return Task(unit, wanted, known, state)

    def write(self, unit: Unit, piece: Piece) -> None:
        """Put a piece of a unit's result on disk; entries that are there already are left out.

        Raises:
            ResultsError: If it cannot be written.
        """
        run = self._runs[piece.method]
        if self._answers is not None:
            self._answers.add(piece.answers)
        shown = self._shown.get((piece.method, unit.index), 0)
        if piece.state is not None:
            run.states.save(unit.index, piece.state)
            self._shown[piece.method, unit.index] = piece.state.done
            self.progress(run.name, piece.state.done - shown)
        entries = [entry for entry in piece.entries if entry["id"] not in run.done]
        if entries:
            run.journal.append(entries)
            run.done.update(entry["id"] for entry in entries)
            run.states.drop(unit.index)
            self.progress(run.name, len(entries) - shown)

    def finish(self) -> list[RunFolder]:
        """Write the summaries of the runs that are complete now, whoever computed their cases."""
        for run in self._runs:
            if not run.complete:
                complete(run.folder, len(self.cases))
        return [run.folder for run in self._runs]

    @property
    def _units(self) -> list[Unit]:
        units = units_of(self.cases, self.protocol, self.batch_size)
        return units if self.shard is None else units[self.shard.index :: self.shard.count]

    def _opened(self, described: Described, stack: ExitStack) -> _Run:
        folder, name = RunFolder(self.out / described.identity.folder), described.identity.method["name"]
        folder.open(described.identity, described.environment)
        journal = folder.journal if self.shard is None else folder.shard(self.shard.index, self.shard.count)
        finished = folder.summary() is not None
        if not finished:
            stack.enter_context(folder.held(journal))
        done = set(folder.entries())
        self.progress(name, len(done))
        return _Run(name, folder, journal, done, finished)

    def _missing(self, run: _Run, unit: Unit) -> frozenset[str]:
        return frozenset() if run.complete else frozenset(c.case_id for c in unit.cases if c.case_id not in run.done)
