"""Which of a setting's candidates stays: all meet a few cases, the better half meets more, and so on.

Source: successive halving, Jamieson and Talwalkar, AISTATS 2016 (arXiv 1502.07943), the cases that a candidate has met
being its budget.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from clmeeval_data.errors import CaseError, ConfigError, EditError, ModelError
from clmeeval_data.evaluation.cluster import make_editor
from clmeeval_data.evaluation.hparams import Settings
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.runner import TestSet, run_methods
from clmeeval_data.evaluation.tune.plan import TunePlan
from clmeeval_data.evaluation.tune.score import Entry, Score

FEWEST_CASES = 2  # of a dataset, on which candidates are compared
LOST = (CaseError, ConfigError, EditError, ModelError)  # what a candidate may fail with before its first case

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told how a search advances."""

    def begin(self, method: str, step: str, cases: int, /) -> None:
        """A step of the search begins: candidates of one setting on so many cases together."""

    def advance(self, step: str, cases: int, /) -> None:
        """Cases of the step were finished, now or in an earlier search."""

    def track(self, steps: Iterable[T], description: str, total: int) -> Iterable[T]:
        """Something that takes long and is not a case: yields its steps."""


class Trial(NamedTuple):
    """One candidate of a setting, with its score on the cases of the last step it took part in."""

    value: Any
    score: Score


class Searched(NamedTuple):
    """One setting: its candidates, the value in force first, and the one that stays.

    ``complete``: whether the budget covered all steps.
    """

    name: str
    trials: list[Trial]
    kept: Any
    complete: bool


def rungs(candidates: int, cases: int) -> list[int]:
    """How many cases candidates have met after each step: every step doubles them and halves the candidates."""
    sizes = [cases]
    while sizes[0] // 2 >= FEWEST_CASES:
        sizes.insert(0, sizes[0] // 2)
    return sizes[-max(1, math.ceil(math.log2(candidates))) :]


class Search:
    """Candidates and what they did, from the runs on disk where they are there. ``spent``: cases they have met."""

    def __init__(
        self, lm: LanguageModel, datasets: Sequence[TestSet], plan: TunePlan, runs: Path, observer: Observer
    ) -> None:
        self.spent = 0
        self._lm, self._plan, self._runs, self._observer = lm, plan, runs, observer
        self._cases = max(len(one.cases) for one in datasets)
        ends = rungs(self._cases, self._cases)
        self._new = {  # what a candidate meets when it has met all before
            end: [replace(one, cases=one.cases[begin:end]) for one in datasets if one.cases[begin:end]]
            for begin, end in zip([0, *ends], ends, strict=False)
        }
        self._met: dict[tuple[str, int], list[Entry]] = {}

    def setting(self, values: Mapping[str, Any], name: str, candidates: Sequence[Any]) -> Searched:
        """Search one setting, the others being as they are in ``values``; of equals the earlier candidate stays."""
        running, complete = list(range(len(candidates))), True
        scores: dict[int, Score] = {}
        steps = rungs(len(candidates), self._cases)
        for step in steps:
            settings = [{**values, name: candidates[index]} for index in running]
            cost = sum(self._missing(one, step) for one in settings)
            complete = self.spent + cost <= self._plan.budget
            if not complete:
                break
            label = f"{name}: {len(running)} candidates on {step} cases"
            self._observer.begin(self._plan.method, label, cost)
            self.spent += cost
            for index, one in zip(running, settings, strict=True):
                scores[index] = self._score(one, step, label)
            running.sort(key=lambda index: (scores[index].rank, -index), reverse=True)
            running = running[: 1 if step == steps[-1] else math.ceil(len(running) / 2)]
        trials = [Trial(value, scores[index]) for index, value in enumerate(candidates) if index in scores]
        return Searched(name, trials, candidates[running[0]], complete)

    def known(self, values: Mapping[str, Any], step: int | None = None) -> Score:
        """The score of settings on the cases they have met, or on those of the steps up to one."""
        ends = [end for end in self._new if step is None or end <= step]
        return Score.of([entry for end in ends for entry in self._met.get((_key(values), end), [])])

    def _missing(self, values: Mapping[str, Any], step: int) -> int:
        """How many cases the settings still have to meet."""
        ahead = [end for end in self._new if end <= step and (_key(values), end) not in self._met]
        return sum(len(one.cases) for end in ahead for one in self._new[end])

    def _score(self, values: Mapping[str, Any], step: int, label: str) -> Score:
        for end in self._new:
            if end <= step and (_key(values), end) not in self._met:
                self._met[_key(values), end] = [
                    entry for one in self._new[end] for entry in self._entries(values, one, label)
                ]
        return self.known(values, step)

    def _entries(self, values: Mapping[str, Any], tests: TestSet, label: str) -> list[Entry]:
        """What the settings do on some cases; where they cannot even be tried, all of these have failed."""
        plan = self._plan
        try:
            (folder,) = run_methods(
                self._lm,
                tests,
                [make_editor(plan.method, self._lm, Settings(dict(values), "a candidate"))],
                self._runs,
                seed=plan.seed,
                batch_size=plan.batch_size,
                progress=lambda _, cases: self._observer.advance(label, cases),
                track=self._observer.track,
            )
        except LOST as error:
            logger.info("%s: a candidate cannot be tried: %s", label, error)
            self._observer.advance(label, len(tests.cases))
            problem = {"type": type(error).__name__, "message": str(error)}
            return [{"id": case.case_id, "error": problem} for case in tests.cases]
        return list(folder.entries().values())


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)
