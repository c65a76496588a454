"""Searching a method's settings for a model, on training cases alone.

    <out>/<method>/<model>/settings.toml   what was found, in the form of the shipped settings
                           tune.json       every candidate with its scores
                           runs/           the candidates' runs, from which a search that was stopped goes on

One setting is searched after another, in the order of the method's ``[search]`` table. Its candidates are the value in
force and those of the table. All of them meet a few cases, the better half meets more, and the best of the last two
stays. Settings interact, so what comes out is a good place and not the best one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.evaluation.cluster import read_tests
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.hparams import Settings, search_space, settings_for, write_settings
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.results import slug, write_json
from clmeeval_data.evaluation.runner import TestSet
from clmeeval_data.evaluation.scoring.dimensions import cases_hash
from clmeeval_data.evaluation.tune.plan import TunePlan
from clmeeval_data.evaluation.tune.score import Score
from clmeeval_data.evaluation.tune.search import Observer, Search, Searched
from clmeeval_data.hub import commit_of

__all__ = ["Observer", "Score", "TunePlan", "Tuned", "tune"]

SHOWN_REASON = 100  # characters of an error in the written settings


class Tuned(NamedTuple):
    """What a search found: the settings with their score, the file they are in, and the report beside it."""

    config: dict[str, Any]
    score: Score
    path: Path
    report: Path


def tune(plan: TunePlan, observer: Observer) -> Tuned:
    """Search a method's settings for a model; a search that was stopped goes on, and ends with the same result.

    Raises:
        ConfigError: If there is nothing to search, the budget does not cover a step, or no candidate works.
        ClmeevalError: If a dataset's training split, the model or the folder cannot be used.
    """
    commits = [commit_of(location, plan.revision) for location in plan.datasets]
    datasets = [
        _chosen(read_tests(location, "train", None, commit or plan.revision), location, plan)
        for location, commit in zip(plan.datasets, commits, strict=True)
    ]
    lm = load_language_model(plan.model, plan.device, plan.dtype)
    start = settings_for(plan.method, lm.name, lm.map.depth)
    values = {**start.values, **dict(plan.overrides)}
    space = _space(plan, lm, values)
    values |= {name: candidates[0] for name, candidates in space.items()}
    folder = plan.out / slug(plan.method) / slug(lm.name)
    search = Search(lm, datasets, plan, folder / "runs", observer)
    searched = []
    for name, candidates in space.items():
        searched.append(search.setting(values, name, candidates))
        values[name] = searched[-1].kept
    score = search.known(values)
    if not score.cases:
        raise ConfigError(
            f"a budget of {plan.budget} does not cover one step of the search. Give more, or fewer cases."
        )
    if not score.works:
        raise ConfigError(f"no candidate of {plan.method} works on {lm.name}: {score.reason}")
    tuned = Tuned(values, score, folder / "settings.toml", folder / "tune.json")
    _write(tuned, plan, lm, datasets, commits, start, searched, search.spent)
    return tuned


def _space(plan: TunePlan, lm: LanguageModel, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The settings to search with their candidates, of which the value in force is the first."""
    config = json.loads(json.dumps(EDITORS[plan.method].config_class.from_dict(values).as_dict()))  # lists, no tuples
    space = search_space(plan.method, lm.map.depth) if plan.space is None else plan.space
    for name in space:
        if name not in config:
            raise ConfigError(f"{plan.method} has no setting {name!r} to search. Known: {', '.join(config) or 'none'}.")
    fixed = [name for name, _ in plan.overrides]
    found = {}
    for name, others in space.items():
        candidates = [config[name], *others]
        different = [value for index, value in enumerate(candidates) if value not in candidates[:index]]
        if name not in fixed and len(different) > 1:
            found[name] = different
    if not found:
        reason = "the settings that have candidates were given" if space else "no setting has candidates"
        raise ConfigError(f"there is nothing to search for {plan.method}: {reason}. It runs as it is.")
    return found


def _chosen(tests: TestSet, location: str, plan: TunePlan) -> TestSet:
    """The cases to search on: a choice that depends on their ids and the seed alone."""
    if not tests.cases:
        raise DatasetError(f"the training split of {location} is empty: there is nothing to search on.")

    def place(case: Case) -> str:
        return hashlib.sha256(f"{plan.seed}|{case.case_id}".encode()).hexdigest()

    return replace(tests, cases=tuple(sorted(tests.cases, key=place)[: plan.cases]))


def _write(
    tuned: Tuned,
    plan: TunePlan,
    lm: LanguageModel,
    datasets: Sequence[TestSet],
    commits: Sequence[str | None],
    start: Settings,
    searched: Sequence[Searched],
    spent: int,
) -> None:
    """The settings with a comment on each number, and the report with all candidates."""
    used = [
        {
            "name": one.benchmark.name,
            "location": location,
            "revision": plan.revision,
            "commit": commit,
            "n": len(one.cases),
            "cases": cases_hash(one.cases),
        }
        for one, location, commit in zip(datasets, plan.datasets, commits, strict=True)
    ]
    model = {"name": lm.name, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype).removeprefix("torch.")}
    report = {
        "method": plan.method,
        "model": {**model, "depth": lm.map.depth},
        "datasets": used,
        "seed": plan.seed,
        "budget": plan.budget,
        "spent": spent,
        "start": {"origin": start.origin, "config": start.values, "given": dict(plan.overrides)},
        "settings": [
            {**one._asdict(), "trials": [{"value": value, **score.as_dict()} for value, score in one.trials]}
            for one in searched
        ],
        "config": tuned.config,
        "score": tuned.score.as_dict(),
    }
    notes = dict.fromkeys(tuned.config, f"not searched ({start.origin})")
    notes |= {name: "given" for name, _ in plan.overrides} | {one.name: _note(one) for one in searched}
    write_settings(tuned.path, lm.name, lm.map.depth, tuned.config, _head(report, tuned.score), notes)
    write_json(tuned.report, report)


def _head(report: Mapping[str, Any], score: Score) -> list[str]:
    """What the settings file says of the search as a whole."""
    model = report["model"]
    cases = ", ".join(f"{one['n']} of {one['name']} ({one['cases']})" for one in report["datasets"])
    near = "" if score.specificity is None else f", specificity {score.specificity:.3f}"
    return [
        f"{model['name']}, {model['depth']} layers, {model['dtype']}. Found for {report['method']} by "
        f"'clmeeval-evaluate tune' on training cases alone: {cases}, seed {report['seed']}; {report['spent']} "
        "evaluations of a candidate on a case.",
        "Behind a candidate stands its score: the harmonic mean of effectiveness (what the edit adds), generalisation "
        "and specificity, where an exact answer is worth 1 and any other half its ROUGE-L.",
        f"These settings: {_shown(score)} cases; effectiveness {score.effectiveness:.3f}, generalisation "
        f"{score.generalisation:.3f}{near}.",
    ]


def _note(searched: Searched) -> str:
    """How a number was found."""
    if not searched.trials:
        return "not searched: the budget was spent"
    trials = "; ".join(f"{_compact(value)}: {_shown(score)}" for value, score in searched.trials)
    return f"tried {trials} cases{'' if searched.complete else '; the budget ended the search'}"


def _shown(score: Score) -> str:
    if not score.works:
        return f"failed ({score.reason[:SHOWN_REASON]})"
    return f"{score.total:.3f} on {score.cases}" + (f", {score.failed} of them failed" if score.failed else "")


def _compact(value: Any) -> str:
    """A candidate as text, consecutive layers as the first and the last."""
    if isinstance(value, list) and len(value) > 2 and value == list(range(value[0], value[-1] + 1)):
        return f"[{value[0]} to {value[-1]}]"
    return json.dumps(value, ensure_ascii=False)
